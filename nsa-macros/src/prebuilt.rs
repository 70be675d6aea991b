//! Artifacts that `nsa build` wrote, in place of programs.

use crate::input::Input;
use crate::module::{Origin, read, symbol_prefix};
use crate::symbols;
use nsa_artifact::{Artifact, Code, HostIsa, Manifest, ReadError, Target, Variant};
use proc_macro2::Span;
use syn::{Ident, LitStr};

/// Reads the artifact in a file. Everything that could be wrong with it is found here, before anything is expanded.
pub fn origin(input: &Input, path: &LitStr) -> syn::Result<Origin> {
    let (file, content) = read(path)?;
    let artifact = Artifact::from_bytes(&content).map_err(|e| {
        let hint = match e {
            ReadError::Magic => "; artifacts are written by `nsa build PROGRAM -o FILE`",
            ReadError::Truncated | ReadError::Checksum => "; write it once more with `nsa build`",
            _ => "",
        };
        syn::Error::new(path.span(), format!("{}: {e}{hint}", path.value()))
    })?;
    let wrong = |reason: String| syn::Error::new(path.span(), format!("{}: {reason}", path.value()));
    names(artifact.manifest()).map_err(wrong)?;
    let wanted = wanted(input, path, artifact.manifest())?;
    let name = match &input.module {
        Some(name) => name.clone(),
        None => syn::parse_str(&artifact.manifest().name)
            .map(|name: Ident| Ident::new(&name.to_string(), Span::call_site()))
            .map_err(|_| {
                let program = &artifact.manifest().name;
                let sentence =
                    format!("`{program}` is no name for a module: write `mod NAME = prebuilt {:?}`", path.value());
                syn::Error::new(path.span(), sentence)
            })?,
    };
    let prefix = symbol_prefix(&name, &artifact.hash());
    let artifact = own_symbols(&artifact, &wanted, &prefix).map_err(wrong)?;
    Ok(Origin { artifact, name, file: Some(file) })
}

/// Arguments and run-time axes become fields: their names must be such that they can.
fn names(manifest: &Manifest) -> Result<(), String> {
    let field = |name: &str| [name, &format!("r#{name}")].iter().any(|name| syn::parse_str::<Ident>(name).is_ok());
    let names = manifest.signature.iter().map(|b| &b.name).chain(manifest.axes.iter().map(|a| &a.name));
    match names.into_iter().find(|name| !field(name)) {
        Some(name) => Err(format!("{name:?} is no name for an argument or an axis")),
        None => Ok(()),
    }
}

/// The targets to embed: those that the call names, by default all of the artifact.
fn wanted(input: &Input, path: &LitStr, manifest: &Manifest) -> syn::Result<Vec<Target>> {
    let there: Vec<Target> = manifest.targets.iter().map(|t| t.target).collect();
    let Some(targets) = &input.targets else { return Ok(there) };
    for (target, place) in targets {
        if !there.contains(target) {
            let list = |targets: &[Target]| targets.iter().map(|t| t.name()).collect::<Vec<_>>().join(",");
            let sentence = format!(
                "{} has no code for {target}, only for {}: write it anew with `nsa build --targets {},{target}`",
                path.value(),
                list(&there),
                list(&there)
            );
            return Err(syn::Error::new(*place, sentence));
        }
    }
    Ok(targets.iter().map(|(target, _)| *target).collect())
}

/// The artifact with code for these targets only, and with host symbols that begin with `prefix`: two crates may embed the same
/// file, or files of programs with the same name.
fn own_symbols(artifact: &Artifact, targets: &[Target], prefix: &str) -> Result<Artifact, String> {
    let mut manifest = artifact.manifest().clone();
    manifest.targets.retain(|t| targets.contains(&t.target));
    let mut payloads: Vec<(String, Vec<u8>)> = vec![];
    let mut count = 0;
    for variant in manifest.targets.iter_mut().flat_map(|t| &mut t.variants) {
        let payload = variant.code.payload().to_string();
        let text = artifact.text(&payload).ok_or_else(|| format!("payload `{payload}` is not text"))?;
        let mut content = text.to_string();
        if let Code::Host { prefix: old, isas, .. } = &variant.code {
            defines_its_symbols(variant, text, old, isas)?;
            let new = format!("{prefix}_{count}");
            content = symbols::renamed(text, old, &new);
            if let Code::Host { prefix, .. } = &mut variant.code {
                *prefix = new;
            }
            count += 1;
        }
        // A payload of its own: variants that shared one text do not share symbols.
        let own = format!("{}.{payload}", payloads.len());
        match &mut variant.code {
            Code::Ptx { payload, .. } | Code::Host { payload, .. } => payload.clone_from(&own),
        }
        payloads.push((own, content.into_bytes()));
    }
    Artifact::new(manifest, payloads).map_err(|e| e.to_string())
}

/// A symbol that is missing would be an error of the linker, far from its cause.
fn defines_its_symbols(variant: &Variant, text: &str, prefix: &str, isas: &[HostIsa]) -> Result<(), String> {
    for kernel in &variant.kernels {
        for isa in isas {
            let symbol = Manifest::host_symbol(prefix, &kernel.name, *isa);
            let defined = |line: &str| line.strip_suffix(':') == Some(&symbol);
            if !text.lines().any(defined) {
                return Err(format!("the code of kernel `{}` for {isa} is missing", kernel.name));
            }
        }
    }
    Ok(())
}
