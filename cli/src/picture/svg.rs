//! Pictures as SVG.

use super::{Anchor, Colour, Face, Item, PAPER, Picture, Rect, head};
use std::fmt::Write;

/// The text of a picture. Numbers have two digits after the point at most, so that files are small and equal everywhere.
pub fn write(picture: &Picture) -> String {
    let (width, height) = (number(picture.width), number(picture.height));
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         role=\"img\">\n<title>{}</title>\n\
         <style>text{{font-family:Inter,'Helvetica Neue',Helvetica,Arial,sans-serif}}\
         .s{{font-weight:600}}.c{{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace}}</style>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"{}\"/>\n",
        escaped(&picture.title),
        hex(PAPER)
    );
    for item in &picture.items {
        self::item(&mut out, item);
    }
    out + "</svg>\n"
}

fn item(out: &mut String, item: &Item) {
    // Writing to a String does not fail.
    let _ = match item {
        Item::Cells(colour, cells) => {
            let mut path = String::new();
            for Rect { x, y, width, height } in cells {
                let (x, y, width, height) = (number(*x), number(*y), number(*width), number(*height));
                let _ = write!(path, "M{x} {y}h{width}v{height}h-{width}z");
            }
            writeln!(out, "<path shape-rendering=\"crispEdges\" fill=\"{}\" d=\"{path}\"/>", hex(*colour))
        }
        Item::Frame { rect: Rect { x, y, width, height }, radius, fill, stroke } => {
            let fill = fill.map_or("none".into(), hex);
            let stroke = stroke.map_or(String::new(), |colour| format!(" stroke=\"{}\"", hex(colour)));
            let (x, y, width, height) = (number(*x), number(*y), number(*width), number(*height));
            let round = if *radius > 0.0 { format!(" rx=\"{}\"", number(*radius)) } else { String::new() };
            writeln!(
                out,
                "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"{round} fill=\"{fill}\"{stroke}/>"
            )
        }
        Item::Line { points, colour, width, arrow } => {
            let list = |points: &[(f64, f64)]| {
                points.iter().map(|(x, y)| format!("{} {}", number(*x), number(*y))).collect::<Vec<_>>().join("L")
            };
            let colour = hex(*colour);
            let _ = writeln!(
                out,
                "<path fill=\"none\" stroke=\"{colour}\" stroke-width=\"{}\" d=\"M{}\"/>",
                number(*width),
                list(points)
            );
            match head(points).filter(|_| *arrow) {
                Some(head) => writeln!(out, "<path fill=\"{colour}\" d=\"M{}z\"/>", list(&head)),
                None => Ok(()),
            }
        }
        Item::Text { at: (x, y), text, size, face, colour, anchor, upwards } => {
            let class = match face {
                Face::Regular => "",
                Face::Strong => " class=\"s\"",
                Face::Code => " class=\"c\"",
            };
            let anchor = match anchor {
                Anchor::Start => "",
                Anchor::Middle => " text-anchor=\"middle\"",
                Anchor::End => " text-anchor=\"end\"",
            };
            let (x, y) = (number(*x), number(*y));
            let turn = if *upwards { format!(" transform=\"rotate(-90 {x} {y})\"") } else { String::new() };
            let (size, colour, text) = (number(*size), hex(*colour), escaped(text));
            writeln!(
                out,
                "<text x=\"{x}\" y=\"{y}\" font-size=\"{size}\"{class}{anchor}{turn} fill=\"{colour}\" \
                 xml:space=\"preserve\">{text}</text>"
            )
        }
    };
}

fn number(x: f64) -> String {
    let text = format!("{x:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

fn hex(Colour(red, green, blue): Colour) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
