//! What stands inside the macro's parentheses.

use nsa_artifact::Target;
use nsa_dsl::program::DType;
use nsa_dsl::{Constant, Settings};
use proc_macro2::TokenStream;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Ident, Lit, LitStr, Token, UnOp, Visibility, braced, bracketed, parenthesized};

/// A call of the macro.
pub struct Input {
    pub visibility: Visibility,
    /// Name of the module; None: the kernel's name.
    pub module: Option<Ident>,
    pub source: Source,
    pub targets: Vec<Target>,
    pub settings: Settings,
    /// The names in `set(...)`, as written.
    pub names: Vec<Ident>,
}

/// Where the program is.
pub enum Source {
    Path(LitStr),
    Tokens(TokenStream),
}

impl Parse for Input {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let targets = default_targets();
        let fork = input.fork();
        let named = fork.parse::<Visibility>().is_ok() && fork.peek(Token![mod]);
        if !named {
            let source = Source::Tokens(input.parse()?);
            let settings = Settings::default();
            return Ok(Input {
                visibility: Visibility::Inherited,
                module: None,
                source,
                targets,
                settings,
                names: vec![],
            });
        }
        let visibility = input.parse()?;
        input.parse::<Token![mod]>()?;
        let module = Some(input.parse()?);
        input.parse::<Token![=]>()?;
        let source = if input.peek(syn::token::Brace) {
            let content;
            braced!(content in input);
            Source::Tokens(content.parse()?)
        } else if input.peek(LitStr) {
            Source::Path(input.parse()?)
        } else {
            return Err(input.error("expected the path of a program in quotes, or a program in braces"));
        };
        let mut result = Input { visibility, module, source, targets, settings: Settings::default(), names: vec![] };
        while !input.is_empty() {
            input.parse::<Token![,]>()?;
            if input.is_empty() {
                break;
            }
            result.option(input)?;
        }
        Ok(result)
    }
}

impl Input {
    fn option(&mut self, input: ParseStream<'_>) -> syn::Result<()> {
        let name: Ident = input.parse()?;
        match name.to_string().as_str() {
            "targets" => {
                input.parse::<Token![=]>()?;
                let content;
                bracketed!(content in input);
                let names = Punctuated::<LitStr, Token![,]>::parse_terminated(&content)?;
                self.targets.clear();
                for name in &names {
                    let target = name.value().parse().map_err(|e| syn::Error::new(name.span(), e))?;
                    if !self.targets.contains(&target) {
                        self.targets.push(target);
                    }
                }
                if self.targets.is_empty() {
                    return Err(syn::Error::new(
                        name.span(),
                        "no targets: name one at least, such as \"sm_80\" or \"host\"",
                    ));
                }
            }
            "set" => {
                let content;
                parenthesized!(content in input);
                for Setting { name, value } in Punctuated::<Setting, Token![,]>::parse_terminated(&content)? {
                    self.settings.constants.push((name.to_string(), value));
                    self.names.push(name);
                }
            }
            "element" => {
                input.parse::<Token![=]>()?;
                let text: LitStr = input.parse()?;
                self.settings.element = Some(match text.value().as_str() {
                    "bf16" => DType::Bf16,
                    "f16" => DType::F16,
                    "f32" => DType::F32,
                    _ => return Err(syn::Error::new(text.span(), "element types are \"bf16\", \"f16\" and \"f32\"")),
                });
            }
            _ => {
                return Err(syn::Error::new(
                    name.span(),
                    "options are targets = [...], set(NAME = value) and element = \"...\"",
                ));
            }
        }
        Ok(())
    }
}

/// All GPU targets, and the processor that compiles.
fn default_targets() -> Vec<Target> {
    Target::ALL.into_iter().filter(|t| t.is_gpu()).chain(Target::this_host()).collect()
}

/// `NAME = value`.
struct Setting {
    name: Ident,
    value: Constant,
}

impl Parse for Setting {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let name = input.parse()?;
        input.parse::<Token![=]>()?;
        let negative = input.peek(Token![-]) && matches!(input.parse::<UnOp>()?, UnOp::Neg(_));
        let literal: Lit = input.parse()?;
        let value = match &literal {
            Lit::Int(n) => Constant::Int(n.base10_parse::<i64>().map(|n| if negative { -n } else { n })?),
            Lit::Float(x) => Constant::Float(x.base10_parse::<f64>().map(|x| if negative { -x } else { x })?),
            other => return Err(syn::Error::new(other.span(), "expected a number")),
        };
        Ok(Setting { name, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Input, String> {
        syn::parse_str(text).map_err(|e| e.to_string())
    }

    #[test]
    fn all_options() {
        let input = parse(
            r#"pub(crate) mod fast = "a/b.nsa", targets = ["sm_90a", "aarch64"], set(N = 8, d = 64, X = -0.5), element = "f16","#,
        );
        let input = input.expect("well formed");
        assert_eq!(input.module.map(|m| m.to_string()).as_deref(), Some("fast"));
        assert!(matches!(&input.source, Source::Path(p) if p.value() == "a/b.nsa"));
        assert_eq!(input.targets, [Target::Sm90a, Target::Aarch64]);
        let expected = Settings::default().set("N", 8).set("d", 64).set("X", -0.5).element(DType::F16);
        assert_eq!(input.settings, expected);
    }

    #[test]
    fn programs_in_place() {
        let program = "const N = 4; kernel f(x[t, d = 4]) -> y[t, d] { x }";
        let bare = parse(program).expect("well formed");
        assert!(bare.module.is_none() && matches!(bare.source, Source::Tokens(_)));
        assert!(bare.targets.contains(&Target::Sm80));
        let named = parse(&format!("mod m = {{ {program} }}, targets = [\"host\"]")).expect("well formed");
        assert_eq!(named.targets, Vec::from_iter(Target::this_host()));
        assert!(matches!(named.source, Source::Tokens(_)));
    }

    #[test]
    fn mistakes() {
        let mistake = |text: &str| parse(text).err().expect("must be refused");
        assert!(mistake("mod m = 3").starts_with("expected the path of a program"));
        assert!(mistake(r#"mod m = "x", targets = ["sm_75"]"#).starts_with("`sm_75` is not a target"));
        assert!(mistake(r#"mod m = "x", targets = []"#).starts_with("no targets"));
        assert!(mistake(r#"mod m = "x", colour = 3"#).starts_with("options are"));
        assert!(mistake(r#"mod m = "x", element = "i8""#).starts_with("element types are"));
        assert!(mistake(r#"mod m = "x", set(N = "8")"#).starts_with("expected a number"));
    }
}
