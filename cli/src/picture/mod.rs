//! Pictures: a few kinds of shapes and text, written as SVG or as PNG.

mod font;
mod png;
mod svg;

pub use font::width;

use crate::failure::{Failure, at};
use std::path::Path;

/// A colour, red, green and blue.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Colour(pub u8, pub u8, pub u8);

impl Colour {
    /// This colour where `share` is 0, the other where it is 1, a mixture between.
    pub fn towards(self, other: Colour, share: f64) -> Colour {
        let mix = |a: u8, b: u8| (f64::from(a) + (f64::from(b) - f64::from(a)) * share).round() as u8;
        Colour(mix(self.0, other.0), mix(self.1, other.1), mix(self.2, other.2))
    }
}

/// Background of all pictures.
pub const PAPER: Colour = Colour(255, 255, 255);
/// Text that is read first.
pub const INK: Colour = Colour(31, 41, 55);
/// Text that explains.
pub const MUTED: Colour = Colour(107, 114, 128);
/// Lines that separate.
pub const HAIRLINE: Colour = Colour(203, 208, 216);

/// A rectangle, in pixels from the upper left corner of the picture.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Rect {
    /// Left edge.
    pub x: f64,
    /// Upper edge.
    pub y: f64,
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
}

/// A typeface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Face {
    /// For reading.
    Regular,
    /// For what is read first.
    Strong,
    /// For what a program says, all letters equally wide.
    Code,
}

/// Which point of a text its position is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Anchor {
    /// Its beginning.
    Start,
    /// Its middle.
    Middle,
    /// Its end.
    End,
}

/// One thing in a picture.
#[derive(Clone, PartialEq, Debug)]
pub enum Item {
    /// Rectangles of one colour with sharp edges, so that neighbours touch.
    Cells(Colour, Vec<Rect>),
    /// A rectangle with round corners of this radius, filled, outlined, or both.
    Frame {
        /// Where.
        rect: Rect,
        /// Of the corners.
        radius: f64,
        /// Inside.
        fill: Option<Colour>,
        /// The outline, one pixel wide.
        stroke: Option<Colour>,
    },
    /// A line through points, with an arrow at its end or without.
    Line {
        /// Two or more.
        points: Vec<(f64, f64)>,
        /// Of the line.
        colour: Colour,
        /// Of the line.
        width: f64,
        /// Whether it ends in an arrow.
        arrow: bool,
    },
    /// One line of text.
    Text {
        /// The anchor, on the base line.
        at: (f64, f64),
        /// What it says.
        text: String,
        /// Height of the letters, in pixels.
        size: f64,
        /// Its face.
        face: Face,
        /// Its colour.
        colour: Colour,
        /// What of it is at `at`.
        anchor: Anchor,
        /// Whether it runs upwards.
        upwards: bool,
    },
}

/// A picture.
#[derive(Clone, PartialEq, Debug)]
pub struct Picture {
    /// In pixels.
    pub width: f64,
    /// In pixels.
    pub height: f64,
    /// What it says, for those who cannot see it.
    pub title: String,
    /// From back to front.
    pub items: Vec<Item>,
}

impl Picture {
    /// A line of text that begins at a point of the base line.
    pub fn text(&mut self, x: f64, y: f64, text: impl Into<String>, size: f64, face: Face, colour: Colour) {
        self.anchored((x, y), text, size, face, colour, Anchor::Start);
    }

    /// A line of text with any anchor.
    pub fn anchored(
        &mut self,
        at: (f64, f64),
        text: impl Into<String>,
        size: f64,
        face: Face,
        colour: Colour,
        anchor: Anchor,
    ) {
        self.items.push(Item::Text { at, text: text.into(), size, face, colour, anchor, upwards: false });
    }

    /// The picture as SVG.
    pub fn svg(&self) -> String {
        svg::write(self)
    }

    /// Writes the picture, in the format that the file's name ends in.
    ///
    /// # Errors
    /// Another ending, or a file that cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Failure> {
        let bytes = match path.extension().and_then(|ending| ending.to_str()) {
            Some("svg") => self.svg().into_bytes(),
            Some("png") => png::write(self).map_err(at(path))?,
            _ => return Err(format!("{}: pictures are .svg or .png", path.display()).into()),
        };
        std::fs::write(path, bytes).map_err(at(path))
    }
}

/// Points of an arrow's head at the end of a line: its tip and the two ends of its base.
fn head(points: &[(f64, f64)]) -> Option<[(f64, f64); 3]> {
    let [.., from, tip] = points else { return None };
    let (dx, dy) = (tip.0 - from.0, tip.1 - from.1);
    let length = dx.hypot(dy);
    if length == 0.0 {
        return None;
    }
    let (dx, dy) = (dx / length * 7.0, dy / length * 7.0);
    Some([*tip, (tip.0 - dx + 0.5 * dy, tip.1 - dy - 0.5 * dx), (tip.0 - dx - 0.5 * dy, tip.1 - dy + 0.5 * dx)])
}
