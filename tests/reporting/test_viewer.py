"""The viewer: what it shows of a pair lies on one grid, fits into a page, and is drawn right way round."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

from siamese_med.imaging import volume
from siamese_med.imaging.volume import Volume
from siamese_med.reporting.render import viewer
from tests.reporting import browser, devtools
from tests.reporting.conftest import MARKER_MM, Inputs
from tests.reporting.devtools import Chromium


def layer(page: Path, name: str, folder: Path) -> Volume:
    text = page.read_text(encoding="utf-8")
    (base64_text,) = re.findall(rf'<script type="text/plain" id="{name}-voxels">([\w+/=]+)</script>', text)
    (folder / f"{name}.nii.gz").write_bytes(base64.b64decode(base64_text))
    return volume.read_volume(folder / f"{name}.nii.gz")


def test_niivue_is_the_one_that_was_looked_at() -> None:
    assert hashlib.sha256(viewer.NIIVUE.read_bytes()).hexdigest() == viewer.NIIVUE_SHA256
    assert "Copyright (c) 2021, Niivue" in viewer.NIIVUE.with_name("niivue.LICENSE.txt").read_text()


def test_a_page_stays_under_4_megabytes(viewer_page: Path) -> None:
    assert 3e6 < viewer_page.stat().st_size < 4e6


def test_all_three_lie_on_one_grid_in_the_earlier_scans_millimetres(viewer_page: Path, tmp_path: Path) -> None:
    earlier, later, change = (layer(viewer_page, name, tmp_path) for name in ("earlier", "later", "change"))
    assert earlier.voxels.shape == later.voxels.shape == change.voxels.shape
    assert (earlier.affine == later.affine).all()
    assert (earlier.affine == change.affine).all()
    for found in (later.voxels - earlier.voxels, change.voxels):  # the later scan lay turned, and has the ball
        place = np.argwhere(found > 0.5 * found.max()).mean(0)
        np.testing.assert_allclose(change.affine @ [*place, 1], [*MARKER_MM, 1], atol=2)
    body = (earlier.voxels > 60) & (change.voxels == 0)
    assert np.corrcoef(earlier.voxels[body], later.voxels[body])[0, 1] > 0.9
    assert np.corrcoef(earlier.voxels[body], later.voxels[::-1][body])[0, 1] < 0.8


def test_a_smaller_budget_gives_coarser_voxels_and_is_kept() -> None:
    random = np.random.default_rng(0)
    scan = Volume(random.normal(100, 20, (90, 100, 80)).clip(0).astype(np.float32), np.diag([1.5, 1.5, 1.5, 1.0]))
    change = Volume(np.zeros(scan.voxels.shape, np.float32), scan.affine)
    fine, coarse = (viewer.fit_viewer_layers(scan, scan, change, np.eye(4), budget) for budget in (1_600_000, 200_000))
    assert fine.spacing_mm < coarse.spacing_mm
    assert fine.size <= 1_600_000
    assert coarse.size <= 200_000


def test_a_pair_without_a_map_has_no_viewer(written: Inputs) -> None:
    assert not list(written.reports.rglob("viewer-*.html"))


READY = """new Promise((done) => {
  const wait = setInterval(() => { if (document.body.dataset.ready) { clearInterval(wait); done(); } }, 50);
})"""
LOOKED_AT = """(() => {
  const [, later] = window.views;
  document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'b', bubbles: true}));
  const blinking = document.querySelector('.viewer').classList.contains('blinking');
  const told = document.getElementById('place').textContent;
  const place = Array.from(later.frac2mm(later.scene.crosshairPos)).slice(0, 3);
  later.scene.crosshairPos = later.mm2frac(MARKER);
  later.opts.crosshairWidth = 0;
  later.opts.isOrientationTextVisible = false;
  later.setOpacity(1, 0);
  later.volumes[0].cal_min = 230;
  later.updateGLVolume();
  const gl = later.gl;
  const found = later.screenSlices.map((slice) => {
    later.drawScene();
    const [left, top, width, height] = slice.leftTopWidthHeight.map(Math.round);
    const pixels = new Uint8Array(4 * width * height);
    gl.readPixels(left, gl.drawingBufferHeight - top - height, width, height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
    let count = 0, x = 0, y = 0;
    for (let at = 0; at < width * height; at++)
      if (pixels[4 * at] > 150) { count++; x += at % width; y += height - 1 - Math.floor(at / width); }
    return {plane: slice.axCorSag, count, x: x / count / width, y: y / count / height};
  });
  return {found, blinking, told, place, radiological: later.opts.isRadiologicalConvention};
})()"""
"""What the viewer does and shows; where the marker's pixels lie in each plane, counted from the top left."""


@pytest.mark.skipif(browser.CHROMIUM is None, reason=browser.ABSENT)
def test_the_marker_is_drawn_on_the_patients_right_and_both_dates_follow(viewer_page: Path, chromium: Chromium) -> None:
    with devtools.opened(chromium, viewer_page.as_uri()) as tab:
        tab.evaluate(READY)
        assert tab.requests == [viewer_page.as_uri()]
        assert [line for line in tab.complaints if "GL Driver Message" not in line] == []  # WebGL in software is slow
        result = tab.evaluate(LOOKED_AT.replace("MARKER", str(list(MARKER_MM))))
    axial, coronal, sagittal = (next(one for one in result["found"] if one["plane"] == plane) for plane in range(3))
    assert all(one["count"] > 10 for one in (axial, coronal, sagittal))
    assert axial["x"] < 0.45  # the patient's right is at the left edge, where NiiVue's own R stands
    assert coronal["x"] < 0.45
    assert axial["y"] < 0.45  # the front at the top
    assert coronal["y"] < 0.45  # the head at the top
    assert sagittal["x"] < 0.45  # the front at the left edge
    assert result["radiological"]
    assert result["blinking"]
    np.testing.assert_allclose(result["place"], [11.2, -24.0, 30], atol=2)  # of the largest part of the change map
    assert result["told"] == "Crosshair at (11, −24, 30) mm"
