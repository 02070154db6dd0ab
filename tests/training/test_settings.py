"""Rates and ramps follow their formulas; impossible settings are refused."""

import pytest
import torch

from kdanalysis.training import Settings


def test_the_cosine_rate_is_torchs():
    settings = Settings(learning_rate=0.1)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    for step in range(20):
        assert settings.rate(step / 20) == pytest.approx(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()


def test_the_step_rate_falls_tenfold_at_150_180_and_210_of_240_epochs():
    settings = Settings(epochs=240, schedule="step", learning_rate=0.05)
    rates = [settings.rate(epoch / 240) for epoch in (0, 149, 150, 180, 209, 210)]
    assert rates == pytest.approx([0.05, 0.05, 0.005, 0.0005, 0.0005, 0.00005])


def test_the_rate_of_one_cycle_rises_for_a_quarter_and_falls_to_nothing():
    settings = Settings(schedule="onecycle", learning_rate=0.2)
    rates = [settings.rate(done) for done in (0, 0.125, 0.25, 0.625, 0.925, 1)]
    assert rates == pytest.approx([0.008, 0.104, 0.2, 0.1, 0.02, 0])


def test_the_ramp_takes_a_twelfth_of_the_epochs_unless_said():
    assert [Settings(epochs=240).ramp(epoch) for epoch in (0, 5, 20, 100)] == [0, 0.25, 1, 1]
    assert Settings(epochs=240, warmup=2).ramp(1) == 0.5
    assert Settings(epochs=240, warmup=0).ramp(0) == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"batch_size": 1}, "batch_size must be at least 2, got 1"),
        ({"record_every": 0}, "record_every must be at least 1, got 0"),
        ({"record_rows": 0}, "record_rows must be at least 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0, got 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0, got nan"),
        ({"warmup": -1.0}, "must not be negative"),
        ({"schedule": "linear"}, "schedule is 'cosine', 'step' or 'onecycle', got 'linear'"),
    ],
)
def test_impossible_settings_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        Settings(**given)
