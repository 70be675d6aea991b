//! Pictures as PNG.

use super::{Anchor, Colour, Face, Item, PAPER, Picture, Rect, font, head};
use tiny_skia::{Color, FillRule, Paint, Path, PathBuilder, Pixmap, Stroke, Transform};
use ttf_parser::OutlineBuilder;

/// Pixels of the file per pixel of the picture, so that it is sharp on today's screens.
const SCALE: f32 = 2.0;

/// The bytes of a file.
///
/// # Errors
/// A picture that is too large to be one.
pub fn write(picture: &Picture) -> Result<Vec<u8>, String> {
    let pixels = |length: f64| (length * f64::from(SCALE)).ceil() as u32;
    let pixmap = Pixmap::new(pixels(picture.width), pixels(picture.height));
    let mut pixmap = pixmap.ok_or("the picture is too large for a PNG")?;
    pixmap.fill(color(PAPER));
    let scale = Transform::from_scale(SCALE, SCALE);
    for item in &picture.items {
        match item {
            Item::Cells(colour, cells) => {
                let mut paint = paint(*colour);
                paint.anti_alias = false;
                for cell in cells {
                    // Edges on whole pixels: neighbours neither overlap nor leave a gap.
                    let edge = |x: f64| (x as f32 * SCALE).round();
                    let (left, top) = (edge(cell.x), edge(cell.y));
                    let (right, bottom) = (edge(cell.x + cell.width), edge(cell.y + cell.height));
                    if let Some(rect) = tiny_skia::Rect::from_ltrb(left, top, right, bottom) {
                        pixmap.fill_rect(rect, &paint, Transform::identity(), None);
                    }
                }
            }
            Item::Frame { rect, radius, fill, stroke } => {
                let Some(path) = frame(rect, *radius) else { continue };
                if let Some(fill) = fill {
                    pixmap.fill_path(&path, &paint(*fill), FillRule::Winding, scale, None);
                }
                if let Some(stroke) = stroke {
                    pixmap.stroke_path(&path, &paint(*stroke), &Stroke::default(), scale, None);
                }
            }
            Item::Line { points, colour, width, arrow } => {
                let stroke = Stroke { width: *width as f32, ..Stroke::default() };
                if let Some(path) = polygon(points, false) {
                    pixmap.stroke_path(&path, &paint(*colour), &stroke, scale, None);
                }
                if let Some(path) = head(points).filter(|_| *arrow).and_then(|head| polygon(&head, true)) {
                    pixmap.fill_path(&path, &paint(*colour), FillRule::Winding, scale, None);
                }
            }
            Item::Text { at, text, size, face, colour, anchor, upwards } => {
                if let Some(path) = outlines(text, *size, *face, *anchor) {
                    let turn = if *upwards { -90.0 } else { 0.0 };
                    let place = Transform::from_translate(at.0 as f32, at.1 as f32);
                    let transform = scale.pre_concat(place).pre_concat(Transform::from_rotate(turn));
                    pixmap.fill_path(&path, &paint(*colour), FillRule::Winding, transform, None);
                }
            }
        }
    }
    pixmap.encode_png().map_err(|error| error.to_string())
}

fn color(Colour(red, green, blue): Colour) -> Color {
    Color::from_rgba8(red, green, blue, 255)
}

fn paint(colour: Colour) -> Paint<'static> {
    let mut paint = Paint::default();
    paint.set_color(color(colour));
    paint
}

fn polygon(points: &[(f64, f64)], closed: bool) -> Option<Path> {
    let mut path = PathBuilder::new();
    for (number, (x, y)) in points.iter().enumerate() {
        match number {
            0 => path.move_to(*x as f32, *y as f32),
            _ => path.line_to(*x as f32, *y as f32),
        }
    }
    if closed {
        path.close();
    }
    path.finish()
}

fn frame(rect: &Rect, radius: f64) -> Option<Path> {
    let (left, top) = (rect.x as f32, rect.y as f32);
    let (right, bottom) = (left + rect.width as f32, top + rect.height as f32);
    let r = radius as f32;
    let mut path = PathBuilder::new();
    path.move_to(left + r, top);
    path.line_to(right - r, top);
    path.quad_to(right, top, right, top + r);
    path.line_to(right, bottom - r);
    path.quad_to(right, bottom, right - r, bottom);
    path.line_to(left + r, bottom);
    path.quad_to(left, bottom, left, bottom - r);
    path.line_to(left, top + r);
    path.quad_to(left, top, left + r, top);
    path.close();
    path.finish()
}

/// A text as one path around its anchor.
fn outlines(text: &str, size: f64, face: Face, anchor: Anchor) -> Option<Path> {
    let font = font::font(face)?;
    let (glyphs, width) = font::glyphs(text, size, face);
    let start = match anchor {
        Anchor::Start => 0.0,
        Anchor::Middle => -width / 2.0,
        Anchor::End => -width,
    };
    let mut pen = Pen { path: PathBuilder::new(), scale: size as f32 / f32::from(font.units_per_em()), x: 0.0 };
    for (glyph, x) in glyphs {
        pen.x = (start + x) as f32;
        // What has no outline, a space, draws nothing.
        font.outline_glyph(glyph, &mut pen);
    }
    pen.path.finish()
}

/// Draws glyphs: in fonts the vertical axis points upwards.
struct Pen {
    path: PathBuilder,
    scale: f32,
    x: f32,
}

impl Pen {
    fn at(&self, x: f32, y: f32) -> (f32, f32) {
        (self.x + x * self.scale, -y * self.scale)
    }
}

impl OutlineBuilder for Pen {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.path.move_to(x, y);
    }
    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.path.line_to(x, y);
    }
    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.at(x1, y1), self.at(x, y));
        self.path.quad_to(x1, y1, x, y);
    }
    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let ((x1, y1), (x2, y2), (x, y)) = (self.at(x1, y1), self.at(x2, y2), self.at(x, y));
        self.path.cubic_to(x1, y1, x2, y2, x, y);
    }
    fn close(&mut self) {
        self.path.close();
    }
}
