"use strict";
(async function () {
  const element = (id) => document.getElementById(id);
  const slider = element("map");
  const { MULTIPLANAR_TYPE, NVImage, Niivue, SLICE_TYPE } = niivue;

  function options() {
    return {
      backColor: [0, 0, 0, 1],
      crosshairColor: [0.35, 0.75, 1, 0.9],
      crosshairWidth: 0.3,
      dragAndDropEnabled: false,
      isOrientationTextVisible: true,
      isRadiologicalConvention: true,
      logLevel: "error",
      fontColor: [1, 1, 1, 1],
      multiplanarLayout: MULTIPLANAR_TYPE.GRID,
      multiplanarShowRender: 0,
      sagittalNoseLeft: true,
      sliceType: SLICE_TYPE.MULTIPLANAR,
    };
  }

  async function layer(name, colormap, opacity, low) {
    const base64 = element(name + "-voxels").textContent;
    const image = await NVImage.loadFromBase64({ base64, name: name + ".nii.gz", colormap, opacity });
    image.cal_min = low; // set here, since loading takes the window from the voxels: it must be the same on both dates
    image.cal_max = 255;
    return image;
  }

  async function shown(id, names) {
    const view = new Niivue(options());
    await view.attachTo(id);
    for (const name of names) view.addVolume(await layer(name, "gray", name === id ? 1 : 0, 0));
    view.addVolume(await layer("change", "plasma", Number(slider.value), 25));
    return view;
  }

  try {
    const earlier = await shown("earlier", ["earlier", "later"]);
    const later = await shown("later", ["later"]);
    const views = [earlier, later];

    // one grid for both, so a share of the one is a share of the other; NiiVue's own link needs the keyboard's focus
    const followed = (view) => (place) => {
      views.filter((other) => other !== view).forEach((other) => {
        other.scene.crosshairPos = view.scene.crosshairPos.slice();
        other.drawScene();
      });
      const mm = Array.from(place.mm).slice(0, 3).map((one) => one.toFixed(0).replace("-", "\u2212"));
      element("place").textContent = "Crosshair at (" + mm.join(", ") + ") mm";
    };
    views.forEach((view) => { view.onLocationChange = followed(view); });

    const go = (mm) => {
      earlier.scene.crosshairPos = earlier.mm2frac(mm);
      earlier.drawScene();
      earlier.createOnLocationChange();
    };
    const opacity = () => views.forEach((view) => view.setOpacity(view.volumes.length - 1, Number(slider.value)));
    const blink = () => {
      const on = document.querySelector(".viewer").classList.toggle("blinking");
      element("blink").setAttribute("aria-pressed", String(on));
      earlier.setOpacity(0, on ? 0 : 1);
      earlier.setOpacity(1, on ? 1 : 0);
    };
    slider.addEventListener("input", opacity);
    element("blink").addEventListener("click", blink);
    document.addEventListener("keydown", (event) => {
      if (event.key.toLowerCase() === "b" && !event.ctrlKey && !event.metaKey && !event.altKey) blink();
    });
    const places = Array.from(document.querySelectorAll("[data-place]"));
    places.forEach((button) => button.addEventListener("click", () => go(button.dataset.place.split(" ").map(Number))));
    if (places.length) places[0].click();
    else earlier.createOnLocationChange();
    document.body.dataset.ready = "yes";
    window.views = views;
  } catch (error) {
    element("trouble").hidden = false;
    element("trouble").textContent = "This browser cannot draw the volumes: WebGL 2 is needed. " + error.message;
  }
})();
