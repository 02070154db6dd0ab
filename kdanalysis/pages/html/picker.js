/* Show what belongs to one run, or with "all" everything, below a root. */
function showRun(root, name) {
  for (const part of root.querySelectorAll("[data-run]")) {
    part.toggleAttribute("hidden", name !== "all" && part.dataset.run !== name);
  }
}

function fillPicker(picker, names, group, chosen) {
  for (const name of ["all", ...names]) {
    const label = document.createElement("label");
    const input = document.createElement("input");
    Object.assign(input, { type: "radio", name: group, value: name, checked: name === "all" });
    input.addEventListener("change", () => chosen(name));
    label.append(input, name);
    picker.append(label);
  }
  picker.hidden = false;
}

