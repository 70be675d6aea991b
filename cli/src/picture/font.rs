//! The fonts of pictures: outlines for PNG, widths for layouts.

use super::Face;
use std::sync::OnceLock;
use ttf_parser::{Face as Font, GlyphId};

const FILES: [&[u8]; 3] = [
    include_bytes!("../../fonts/inter-regular.otf"),
    include_bytes!("../../fonts/inter-semibold.otf"),
    include_bytes!("../../fonts/dejavu-sans-mono.ttf"),
];

/// A font; None if its file is none, which a test excludes.
pub fn font(face: Face) -> Option<&'static Font<'static>> {
    static FONTS: [OnceLock<Option<Font<'static>>>; 3] = [const { OnceLock::new() }; 3];
    let number = face as usize;
    FONTS[number].get_or_init(|| Font::parse(FILES[number], 0).ok()).as_ref()
}

/// The glyphs of a text with the place of each, and the text's whole width, in pixels. A letter that the font lacks is a
/// question mark.
pub fn glyphs(text: &str, size: f64, face: Face) -> (Vec<(GlyphId, f64)>, f64) {
    let Some(font) = font(face) else { return (vec![], 0.0) };
    let scale = size / f64::from(font.units_per_em());
    let mut at = 0.0;
    let mut glyphs = vec![];
    for letter in text.chars() {
        let Some(glyph) = font.glyph_index(letter).or_else(|| font.glyph_index('?')) else { continue };
        glyphs.push((glyph, at));
        at += f64::from(font.glyph_hor_advance(glyph).unwrap_or(0)) * scale;
    }
    (glyphs, at)
}

/// How wide a text is, in pixels.
pub fn width(text: &str, size: f64, face: Face) -> f64 {
    glyphs(text, size, face).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fonts_have_every_letter() {
        for face in [Face::Regular, Face::Strong, Face::Code] {
            let font = font(face).expect("a font");
            for letter in (' '..='~').chain("\u{b7}\u{2192}\u{d7}\u{2026}".chars()) {
                assert!(font.glyph_index(letter).is_some(), "{face:?} has no {letter:?}");
            }
        }
        assert_eq!(width("iii", 10.0, Face::Code), width("mmm", 10.0, Face::Code));
        assert!(width("iii", 10.0, Face::Regular) < width("mmm", 10.0, Face::Regular));
        assert_eq!(width("\u{4e2d}", 10.0, Face::Code), width("?", 10.0, Face::Code));
    }
}
