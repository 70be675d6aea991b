//! The syntax tree printed back as a program: parsing the text gives the same tree, but for places.

use crate::ast::*;
use std::fmt::{self, Display, Formatter, Result};

impl Display for File {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let mut before: Option<&Item> = None;
        for item in &self.items {
            let close = matches!((before, item), (Some(Item::Const(_)), Item::Const(_)));
            if before.is_some() && !close {
                writeln!(f)?;
            }
            writeln!(f, "{item}")?;
            before = Some(item);
        }
        Ok(())
    }
}

impl Display for Item {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Item::Const(constant) => write!(f, "const {} = {};", constant.name.text, constant.value),
            Item::Element(dtype, _) => write!(f, "element {};", dtype.name()),
            Item::Function(function) => {
                write!(f, "fn {}({}) {}", function.name.text, list(&function.params), function.body)
            }
            Item::Kernel(kernel) => {
                write!(f, "kernel {}({}) -> ", kernel.name.text, list(&kernel.params))?;
                match kernel.results.as_slice() {
                    [result] => write!(f, "{result}")?,
                    results => write!(f, "({})", list(results))?,
                }
                write!(f, " {}", kernel.body)
            }
        }
    }
}

/// Elements with commas between.
fn list<T: Display>(elements: &[T]) -> String {
    elements.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

impl Display for FunctionParam {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(&self.name.text)?;
        if let Some(pattern) = &self.pattern {
            write!(f, "[{}]", list(pattern))?;
        }
        if let Some(default) = &self.default {
            write!(f, " = {default}")?;
        }
        Ok(())
    }
}

impl Display for PatternItem {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            PatternItem::Axis(name) => f.write_str(&name.text),
            PatternItem::Rest(_) => f.write_str(".."),
        }
    }
}

impl Display for Declaration {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(&self.name.text)?;
        if let Some(dtype) = self.dtype {
            write!(f, ": {}", dtype.name())?;
        }
        if !self.axes.is_empty() {
            write!(f, "[")?;
            for (i, axis) in self.axes.iter().enumerate() {
                write_axis(f, i, axis, "=")?;
            }
            write!(f, "]")?;
        }
        Ok(())
    }
}

/// An axis of a list, with `=` or `<` before its extent.
fn write_axis(f: &mut Formatter<'_>, place: usize, axis: &AxisDeclaration, sign: &str) -> Result {
    if place > 0 {
        f.write_str(", ")?;
    }
    match axis {
        AxisDeclaration::Named(name, None) => f.write_str(&name.text),
        AxisDeclaration::Named(name, Some(extent)) => {
            write!(f, "{} {sign} ", name.text)?;
            write_operand(f, extent, 4)
        }
        AxisDeclaration::Size(size) => write_operand(f, size, 4),
    }
}

impl Display for Body {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "{{")?;
        for definition in &self.lets {
            write!(f, "    let ")?;
            if definition.targets.len() > 1 {
                write!(f, "(")?;
            }
            for (i, (name, axes)) in definition.targets.iter().enumerate() {
                write!(f, "{}{}", if i > 0 { ", " } else { "" }, name.text)?;
                if let Some(axes) = axes {
                    write!(f, "[")?;
                    for (i, axis) in axes.iter().enumerate() {
                        write_axis(f, i, axis, "<")?;
                    }
                    write!(f, "]")?;
                }
            }
            if definition.targets.len() > 1 {
                write!(f, ")")?;
            }
            writeln!(f, " = {};", definition.value)?;
        }
        match self.values.as_slice() {
            [value] => writeln!(f, "    {value}")?,
            values => writeln!(f, "    ({})", list(values))?,
        }
        write!(f, "}}")
    }
}

/// How tightly an expression binds as an operand; folds reach as far as a product does.
fn binding(expr: &Expr) -> u8 {
    match &*expr.kind {
        ExprKind::Binary(op, ..) => op.precedence(),
        ExprKind::In(..) => BinaryOp::Lt.precedence(),
        ExprKind::Fold(FoldKind::Softmax | FoldKind::LogSumExp, ..) => 7,
        // `sum[i] x * y` takes the product in: as an operand it needs brackets.
        ExprKind::Fold(..) => 0,
        ExprKind::Neg(_) | ExprKind::Not(_) => 6,
        _ => 7,
    }
}

/// An operand where at least `needed` is needed.
fn write_operand(f: &mut Formatter<'_>, expr: &Expr, needed: u8) -> Result {
    if binding(expr) < needed { write!(f, "({expr})") } else { write!(f, "{expr}") }
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match &*self.kind {
            ExprKind::Int(value) => write!(f, "{value}"),
            ExprKind::Num(value) => write!(f, "{value:?}"),
            ExprKind::Bool(value) => write!(f, "{value}"),
            ExprKind::Name(name) => f.write_str(name),
            ExprKind::Index(name, indices) => write!(f, "{}[{}]", name.text, list(indices)),
            ExprKind::Call(name, arguments) => write!(f, "{}({})", name.text, list(arguments)),
            ExprKind::Fold(kind, _, axes, body) => {
                write!(f, "{}[", kind.name())?;
                for (i, axis) in axes.iter().enumerate() {
                    write_axis(f, i, axis, "<")?;
                }
                write!(f, "]")?;
                match &*body.kind {
                    ExprKind::Where(..) => write!(f, "{body}"),
                    _ => write!(f, "({body})"),
                }
            }
            ExprKind::Top(axis, arguments) => write!(f, "top[{}]({})", axis.text, list(arguments)),
            ExprKind::Where(value, condition) => {
                // After a fold without brackets the condition would be the fold's.
                write!(f, "(")?;
                write_operand(f, value, 1)?;
                write!(f, " where {condition})")
            }
            ExprKind::Neg(operand) => {
                write!(f, "-")?;
                write_operand(f, operand, 6)
            }
            ExprKind::Not(operand) => {
                write!(f, "!")?;
                write_operand(f, operand, 6)
            }
            ExprKind::Binary(op, left, right) => {
                let own = op.precedence();
                let comparison = own == BinaryOp::Lt.precedence();
                write_operand(f, left, if comparison { own + 1 } else { own })?;
                write!(f, " {} ", op.symbol())?;
                write_operand(f, right, own + 1)
            }
            ExprKind::In(x, list) => {
                write_operand(f, x, 4)?;
                write!(f, " in ")?;
                write_operand(f, list, 7)
            }
            ExprKind::If(condition, yes, no) => write!(f, "if {condition} {{ {yes} }} else {{ {no} }}"),
            ExprKind::Cast(value, dtype) => write!(f, "cast({value}, {})", dtype.name()),
        }
    }
}

impl Display for IndexItem {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            IndexItem::Value(value) => write!(f, "{value}"),
            IndexItem::Rest(_) => f.write_str(".."),
        }
    }
}

impl Display for Argument {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, "{} = ", name.text)?;
        }
        write!(f, "{}", self.value)
    }
}
