"""What can be corrected of what was understood of a scene."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qgis.gui import QgsCollapsibleGroupBox
from qgis.PyQt.QtWidgets import QCheckBox, QFormLayout, QLineEdit, QWidget

from .. import decisions, settings
from ..about import tr
from ..core.contract.band_map import read_band_map
from ..core.contract.errors import JobError
from ..core.contract.job import RasterSource
from ..core.contract.scene_options import (
    AUTO,
    DEFAULT_MAX_DAYS,
    S1_UNITS,
    SceneOptions,
    parse_mask_classes,
)
from ..report_text import unit_name
from .band_line import BandLine
from .framed import Framed
from .mask_row import MaskRow
from .widgets import SLIM, choice, form, name_children, number_box

_LONGEST = 999


class SceneControls(QgsCollapsibleGroupBox):
    """A group that is folded until something is to be corrected."""

    def __init__(self) -> None:
        super().__init__(tr("Corrections"))
        self.offset = choice(
            ((tr("From metadata"), None), (tr("None (0)"), 0.0), (tr("-1000"), -1000.0))
        )
        self.offset.setToolTip(
            tr("What must be added to each value of Sentinel-2; -1000 since January 2022, unless "
               "the provider has done so")
        )  # fmt: skip
        units = [(unit_name(unit), unit) for unit in S1_UNITS if unit != AUTO]
        self.unit = choice(((tr("From the data"), AUTO), *units))
        self.bands = {"s2": BandLine("B02=1,B03=2,B04=3"), "s1": BandLine("VV=1,VH=2")}
        self.mask_row = MaskRow()
        self.mask, self.mask_band = self.mask_row.combo, self.mask_row.band
        self.mask_classes = QLineEdit()
        self.mask_classes.setPlaceholderText(tr("the usual ones"))
        self.mask_classes.setToolTip(
            tr("Values of the cloud mask that count as cloud, as in 3,8,9,10")
        )
        self.max_cloud = number_box(0, 100, "", "%")
        self.max_cloud.setPrefix(tr("at most "))
        self.max_cloud.setToolTip(tr("Tiles with more cloud are skipped; 100 % skips none"))
        self.fill_missing = QCheckBox(tr("Fill missing channels"))
        self.fill_missing.setToolTip(
            tr("Give channels that are not there their training mean; the result says which")
        )
        self.max_days = number_box(0, _LONGEST, "", tr("days"))
        self.max_days.setPrefix(tr("warn over "))
        self.max_days.setToolTip(tr("Warn when Sentinel-1 and Sentinel-2 are further apart"))
        self.any_pixel_size = QCheckBox(tr("Any pixel size"))
        self.any_pixel_size.setToolTip(
            tr("Take Sentinel-2 also where its pixels are far from what the model was trained on")
        )
        self._frames: dict[str, Framed] = {}
        self._lay_out()
        self._restore()
        self.setSaveCollapsedState(False)
        self.setCollapsed(True)

    def options(self) -> SceneOptions:
        """Return the decisions; raises JobError where one is not understood."""
        return SceneOptions(
            s2_offset=self.offset.currentData(),
            s1_unit=self.unit.currentData(),
            mask_classes=parse_mask_classes(self.mask_classes.text()),
            max_cloud=self.max_cloud.value() / 100.0,
            fill_missing=self.fill_missing.isChecked(),
            max_days=self.max_days.value(),
            any_pixel_size=self.any_pixel_size.isChecked(),
        )

    def mask_source(self) -> RasterSource | None:
        """Return the cloud mask as the worker opens it; None where none was chosen."""
        return self.mask_row.source()

    def band_map(self, sensor: str) -> dict[str, int]:
        """Return the band numbers given for ``s2`` or ``s1``; JobError where not understood."""
        return read_band_map(self.bands[sensor].text())

    def decide(self, decision: str, value: Any) -> None:
        """Set what decides to a value; one that is not known is left to the user."""
        if decision == decisions.S2_OFFSET:
            _select(self.offset, float(value), decisions.written(value))
        elif decision == decisions.S1_UNIT:
            _select(self.unit, str(value), unit_name(str(value)))
        elif decision == decisions.MASK_CLASSES:
            self.mask_classes.setText(decisions.written(value))
        elif decision == decisions.MASK_BAND:
            self.mask_band.setValue(int(value))
        elif decision in (decisions.S2_BANDS, decisions.S1_BANDS):
            self._map(decision[:2], value)
        elif decision == decisions.FILL_MISSING:
            self.fill_missing.setChecked(bool(value))
        elif decision == decisions.ANY_PIXEL_SIZE:
            self.any_pixel_size.setChecked(bool(value))

    def _map(self, sensor: str, value: Any) -> None:
        """Take over what a band map says, beside what the user wrote of other bands."""
        try:
            own = self.band_map(sensor)
        except JobError:
            own = {}
        if isinstance(value, Mapping):
            kept = {name: band for name, band in own.items() if band not in value.values()}
            value = {**kept, **value}
        self.bands[sensor].setText(decisions.written(value))

    def highlight(self, decision: str) -> bool:
        """Frame the control that decides, and no other; return whether there is one."""
        for name, frame in self._frames.items():
            frame.set_marked(name == decision)
        is_known = decision in self._frames
        if is_known:
            self.setCollapsed(False)
        return is_known

    def forget_scene(self, sensor: str) -> None:
        """Leave to the data what was decided about other rasters of this sensor."""
        self.fill_missing.setChecked(False)
        if sensor == "s1":
            self.unit.setCurrentIndex(0)
            return
        self.offset.setCurrentIndex(0)
        self.any_pixel_size.setChecked(False)
        self.mask_row.clear()
        self.mask_classes.clear()

    def remember(self) -> None:
        """Keep the thresholds for the next session; decisions about a scene are not."""
        settings.remember(settings.MAX_CLOUD, self.max_cloud.value())
        settings.remember(settings.MAX_DAYS, self.max_days.value())

    def _restore(self) -> None:
        self.max_cloud.setValue(settings.value(settings.MAX_CLOUD, 100))
        self.max_days.setValue(settings.value(settings.MAX_DAYS, DEFAULT_MAX_DAYS))

    def _lay_out(self) -> None:
        layout = form(self)
        layout.setContentsMargins(*SLIM)
        self._add(layout, tr("S2 offset"), decisions.S2_OFFSET, self.offset)
        self._add(layout, tr("S1 unit"), decisions.S1_UNIT, self.unit)
        self._add(layout, tr("S2 band map"), decisions.S2_BANDS, self.bands["s2"])
        self._add(layout, tr("S1 band map"), decisions.S1_BANDS, self.bands["s1"])
        self._add(layout, tr("Cloud mask"), decisions.MASK_BAND, self.mask_row)
        self._add(layout, tr("Cloud classes"), decisions.MASK_CLASSES, self.mask_classes)
        layout.addRow(tr("Cloud"), self.max_cloud)
        layout.addRow(tr("Dates"), self.max_days)
        self._add(layout, "", decisions.FILL_MISSING, self.fill_missing)
        self._add(layout, "", decisions.ANY_PIXEL_SIZE, self.any_pixel_size)
        name_children(
            self, "multimodal_scene", offset=self.offset, unit=self.unit,
            s2_bands=self.bands["s2"], s1_bands=self.bands["s1"], mask=self.mask,
            mask_band=self.mask_band, mask_classes=self.mask_classes,
            max_cloud=self.max_cloud, max_days=self.max_days,
            fill_missing=self.fill_missing, any_pixel_size=self.any_pixel_size,
        )  # fmt: skip

    def _add(self, layout: QFormLayout, label: str, decision: str, control: QWidget) -> None:
        frame = self._frames[decision] = Framed(control)
        if label:
            layout.addRow(label, frame)
        else:
            layout.addRow(frame)


def _select(combo, data: Any, text: str) -> None:
    """Choose an entry by its data; one that is not there yet is added."""
    if combo.findData(data) < 0:
        combo.addItem(text, data)
    combo.setCurrentIndex(combo.findData(data))
