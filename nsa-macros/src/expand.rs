//! From an artifact to a Rust module.

use crate::symbols;
use nsa_artifact::{Artifact, Code, Extent, HostIsa, Manifest, Role, Target, Variant};
use proc_macro2::{Literal, TokenStream};
use quote::{format_ident, quote};
use syn::{Ident, Visibility};

/// The module `name`, with everything embedded. `file` is the program's file, to rebuild when it changes.
pub fn module(visibility: &Visibility, name: &Ident, artifact: &Artifact, file: Option<&str>) -> TokenStream {
    let manifest = artifact.manifest();
    let doc = format!("`{}`, compiled by `nsa_kernel!`.\n\n{}", manifest.name, signature(manifest));
    let rebuild = file.map(|path| {
        quote!(
            const _: &[u8] = ::core::include_bytes!(#path);
        )
    });
    let program = program(artifact);
    let shape = shape(manifest);
    let args = args(manifest);
    quote! {
        #[doc = #doc]
        #visibility mod #name {
            #rebuild
            #program
            #shape
            #args

            /// The program on a device. Cheap to clone.
            #[derive(Clone, Debug)]
            pub struct Kernel(::nsa::Kernel);

            /// Loads the program on a device.
            pub fn load(device: &::nsa::Device) -> ::core::result::Result<Kernel, ::nsa::Error> {
                ::nsa::Kernel::embedded(&PROGRAM, device).map(Kernel)
            }

            impl Kernel {
                /// Prepares launches for these lengths: allocates workspaces, computes grids.
                pub fn plan(&self, shape: &Shape) -> ::core::result::Result<Plan, ::nsa::Error> {
                    self.0.plan(&shape.lengths()).map(Plan)
                }

                /// The kernel without its types.
                pub fn untyped(&self) -> &::nsa::Kernel {
                    &self.0
                }
            }

            /// The program prepared for one shape.
            #[derive(Debug)]
            pub struct Plan(::nsa::Plan);

            impl Plan {
                /// Runs the program: on the host until it is done, on a GPU by putting it on the stream.
                pub fn launch<'s>(
                    &mut self,
                    stream: impl ::core::convert::Into<::nsa::Stream<'s>>,
                    args: &Args<'_>,
                ) -> ::core::result::Result<(), ::nsa::Error> {
                    self.0.launch(stream, &args.views())
                }

                /// The plan without its types.
                pub fn untyped(&mut self) -> &mut ::nsa::Plan {
                    &mut self.0
                }
            }
        }
    }
}

/// An identifier, raw if the name is a word of Rust.
fn ident(name: &str) -> Ident {
    syn::parse_str::<Ident>(name).unwrap_or_else(|_| format_ident!("r#{}", name))
}

/// The program's signature as a code block.
fn signature(manifest: &Manifest) -> String {
    let mut lines = String::from("```text\n");
    for buffer in &manifest.signature {
        let role = if buffer.role == Role::Result { "result" } else { "argument" };
        let extent = |axis: &String| match manifest.axes.iter().find(|a| a.name == *axis).map(|a| &a.extent) {
            Some(Extent::Const(n)) => format!("{axis} = {n}"),
            _ => axis.clone(),
        };
        let axes: Vec<String> = buffer.axes.iter().map(extent).collect();
        lines.push_str(&format!("{role} {}: {}[{}]\n", buffer.name, buffer.dtype, axes.join(", ")));
    }
    lines + "```"
}

/// The static `PROGRAM`: manifest, PTX, host code.
fn program(artifact: &Artifact) -> TokenStream {
    let manifest = Literal::string(&artifact.manifest_json());
    let mut payloads = Vec::new();
    let mut hosts = Vec::new();
    let mut symbols = Vec::new();
    for code in &artifact.manifest().targets {
        let mut symbols_here = Vec::new();
        for variant in &code.variants {
            let payload = variant.code.payload();
            let text = artifact.text(payload).unwrap_or_default();
            match &variant.code {
                Code::Ptx { .. } => payloads.push(quote!((#payload, #text))),
                Code::Host { prefix, isas, .. } => {
                    // Linked in; the runtime asks for symbols, not for the text.
                    payloads.push(quote!((#payload, "")));
                    let (assembly, entries) = host(code.target, variant, text, prefix, isas);
                    hosts.push(assembly);
                    symbols_here.extend(entries);
                }
            }
        }
        if let Some(condition) = architecture(code.target) {
            symbols.push(quote! {
                #[cfg(#condition)]
                const SYMBOLS: &[(&str, ::nsa::HostEntry)] = &[#(#symbols_here),*];
            });
        }
    }
    // Architectures without code of their own have no symbols; loading on the host then says so.
    let covered: Vec<_> = artifact.manifest().targets.iter().filter_map(|t| architecture(t.target)).collect();
    quote! {
        #(#hosts)*
        #(#symbols)*
        #[cfg(not(any(#(#covered),*)))]
        const SYMBOLS: &[(&str, ::nsa::HostEntry)] = &[];

        /// The compiled program as data: manifest, PTX, and the entries of host kernels.
        // SAFETY: code and manifest come out of one run of the compiler.
        pub static PROGRAM: ::nsa::Embedded =
            unsafe { ::nsa::Embedded::new(#manifest, &[#(#payloads),*], SYMBOLS) };
    }
}

/// The condition under which a host target's code is compiled in.
fn architecture(target: Target) -> Option<TokenStream> {
    match target {
        Target::X86_64 => Some(quote!(target_arch = "x86_64")),
        Target::Aarch64 => Some(quote!(target_arch = "aarch64")),
        Target::Sm80 | Target::Sm90a => None,
    }
}

/// The assembly of one variant and the declarations of its symbols; and the entries of the symbol table.
fn host(
    target: Target,
    variant: &Variant,
    text: &str,
    prefix: &str,
    isas: &[HostIsa],
) -> (TokenStream, Vec<TokenStream>) {
    let assembly = symbols::with_local_labels(text, prefix);
    let symbols: Vec<Ident> = variant
        .kernels
        .iter()
        .flat_map(|kernel| isas.iter().map(move |isa| Manifest::host_symbol(prefix, &kernel.name, *isa)))
        .map(|symbol| ident(&symbol))
        .collect();
    let condition = architecture(target);
    let options = if target == Target::X86_64 { quote!(options(att_syntax, raw)) } else { quote!(options(raw)) };
    let tokens = quote! {
        #[cfg(#condition)]
        ::core::arch::global_asm!(#assembly, #options);
        #[cfg(#condition)]
        unsafe extern "C" {
            #(fn #symbols(words: *const u64, first_block: i64, end_block: i64, scratch: *mut u8);)*
        }
    };
    let entries = symbols.iter().map(|symbol| quote!((::core::stringify!(#symbol), #symbol as ::nsa::HostEntry)));
    (tokens, entries.collect())
}

/// The struct `Shape`.
fn shape(manifest: &Manifest) -> TokenStream {
    let axes: Vec<&str> =
        manifest.axes.iter().filter(|a| a.extent == Extent::Runtime).map(|a| a.name.as_str()).collect();
    let fields: Vec<Ident> = axes.iter().map(|axis| ident(axis)).collect();
    let docs = axes.iter().map(|axis| format!("Lengths of axis `{axis}`."));
    quote! {
        /// The lengths of the run-time axes: one sequence, or a packed batch.
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub struct Shape {
            #(#[doc = #docs] pub #fields: ::nsa::Lengths,)*
        }

        impl Shape {
            /// A shape; numbers are single sequences, lists of numbers packed batches.
            pub fn new(#(#fields: impl ::core::convert::Into<::nsa::Lengths>),*) -> Self {
                Shape { #(#fields: #fields.into()),* }
            }

            fn lengths(&self) -> ::nsa::Shape {
                ::nsa::Shape::new()#(.with(#axes, self.#fields.clone()))*
            }
        }
    }
}

/// The struct `Args`.
fn args(manifest: &Manifest) -> TokenStream {
    let names: Vec<&str> = manifest.signature.iter().map(|b| b.name.as_str()).collect();
    let fields: Vec<Ident> = names.iter().map(|name| ident(name)).collect();
    let count = names.len();
    let docs = manifest.signature.iter().map(|b| {
        let role = if b.role == Role::Result { "Result" } else { "Argument" };
        format!("{role} `{}[{}]`, {}.", b.name, b.axes.join(", "), b.dtype)
    });
    quote! {
        /// Views of the arguments and results.
        #[derive(Debug)]
        pub struct Args<'a> {
            #(#[doc = #docs] pub #fields: ::nsa::View<'a>,)*
        }

        impl<'a> Args<'a> {
            fn views(&self) -> [(&'static str, &::nsa::View<'a>); #count] {
                [#((#names, &self.#fields)),*]
            }
        }
    }
}
