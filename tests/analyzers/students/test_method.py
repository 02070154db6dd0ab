"""Methods are read from the names that students have."""

from kdanalysis.analyzers.students.method import name_by_method


def test_names_are_found_by_method_best_first():
    names = ["kd", "runs/DKD", "gdkd-k-3"]
    assert name_by_method(names) == {"gdkd": "gdkd-k-3", "dkd": "runs/DKD", "kd": "kd"}
    assert list(name_by_method(names)) == ["gdkd", "dkd", "kd"]


def test_other_methods_are_none_of_the_three():
    assert name_by_method(["ls-kd", "nkd", "gdkd3", "sdd", "kdx", "skd"]) == {}


def test_a_method_of_several_students_has_no_name():
    assert name_by_method(["kd:a", "kd:b", "dkd"]) == {"dkd": "dkd"}
