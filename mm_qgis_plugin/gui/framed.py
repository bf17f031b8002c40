"""A frame around a control that the user must look at."""

from __future__ import annotations

from qgis.PyQt.QtWidgets import QFrame, QVBoxLayout, QWidget

MARK_COLOR = "#b86e00"


class Framed(QFrame):
    """Holds one control. The control itself gets no style sheet: it would lose its arrows."""

    def __init__(self, control: QWidget) -> None:
        super().__init__()
        self.setObjectName("multimodal_frame")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(control)
        self._is_marked = False

    @property
    def is_marked(self) -> bool:
        """Whether the frame is drawn."""
        return self._is_marked

    def set_marked(self, marked: bool) -> None:
        """Draw the frame, or not."""
        self._is_marked = marked
        look = f"#multimodal_frame {{ border: 2px solid {MARK_COLOR}; border-radius: 4px; }}"
        self.setStyleSheet(look if marked else "")
        room = 2 if marked else 0
        self.layout().setContentsMargins(room, room, room, room)
