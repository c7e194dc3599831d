//! A definition as stable text, for people and golden files: one line a vertex, numbered, inputs as `#n`.

use std::collections::HashMap;
use std::fmt::Write;

use crate::{
    Access, Attributes, Copy, Definition, ExecOp, FileAction, FileOp, GitSource, Lent, Mount, MountKind, Op, Owner,
    Security, Unpack, UserName, VertexId,
};

/// The text.
///
/// ```text
/// #0 local context
/// #1 file on scratch: copy #0:/a to /b owner 1:2 mode 755
/// target #1
/// ```
#[must_use]
pub fn definition(definition: &Definition) -> String {
    let numbers: HashMap<VertexId, usize> = definition
        .iter()
        .enumerate()
        .map(|(number, (id, _))| (id, number))
        .collect();
    let mut text = String::new();
    for (number, (_, vertex)) in definition.iter().enumerate() {
        let inputs: Vec<String> = vertex.inputs.iter().map(|id| format!("#{}", numbers[id])).collect();
        let line = match &vertex.op {
            Op::Image(image) => format!("image {} {} ({})", image.name, image.manifest, image.platform),
            Op::Local(local) if local.excludes.is_empty() => format!("local {}", local.context),
            Op::Local(local) => format!("local {} without {:?}", local.context, local.excludes),
            Op::Http(http) => format!("http {} as {}", http.url, http.file_name),
            Op::Git(git) => git_line(git),
            Op::Exec(exec) => exec_line(exec, &inputs),
            Op::File(file) => file_line(file, &inputs),
            Op::Merge(merge) => {
                let over: Vec<&str> = merge.over.iter().map(|over| inputs[over.0].as_str()).collect();
                format!("merge {}, {}", inputs[merge.base.0], over.join(", "))
            }
        };
        writeln!(text, "#{number} {line}").expect("writing to a string cannot fail");
    }
    for target in definition.targets() {
        match target {
            Some(target) => writeln!(text, "target #{}", numbers[target]),
            None => writeln!(text, "target scratch"),
        }
        .expect("writing to a string cannot fail");
    }
    text
}

fn git_line(git: &GitSource) -> String {
    let mut line = format!("git {}#{}", git.remote, git.reference.as_deref().unwrap_or_default());
    if !git.subdirectory.is_empty() {
        line += &format!(":{}", git.subdirectory);
    }
    if git.keep_git_dir {
        line += " with .git";
    }
    if !git.submodules {
        line += " without submodules";
    }
    line
}

fn exec_line(exec: &ExecOp, inputs: &[String]) -> String {
    let root = exec.root.map_or("scratch", |root| &inputs[root.0]);
    let process = &exec.process;
    let mut line = format!(
        "exec on {root}: {:?} in {} env {:?}",
        process.args, process.working_directory, process.env
    );
    if !process.user.is_empty() {
        line += &format!(" user {}", process.user);
    }
    if exec.network != crate::NetworkMode::Default {
        line += &format!(" network {:?}", exec.network).to_lowercase();
    }
    if exec.security == Security::Insecure {
        line += " insecure";
    }
    for mount in &exec.mounts {
        line += &format!("; {}", mount_text(mount, inputs));
    }
    for variable in &exec.secret_env {
        line += &format!("; ${} from secret {}", variable.name, lent_text(&variable.secret));
    }
    line
}

fn mount_text(mount: &Mount, inputs: &[String]) -> String {
    let access = |access: Access| match access {
        Access::ReadOnly => " read-only",
        Access::ReadWrite => "",
    };
    let (what, access) = match &mount.kind {
        MountKind::Bind(bind) => ("bind".to_owned(), access(bind.access)),
        MountKind::Cache(cache) => {
            let sharing = format!("{:?}", cache.sharing).to_lowercase();
            (format!("{sharing} cache {:?}", cache.id), access(cache.access))
        }
        MountKind::Tmpfs { size, access: write } => {
            let size = size.map(|size| format!(" of {size}")).unwrap_or_default();
            (format!("tmpfs{size}"), access(*write))
        }
        MountKind::Secret { secret, attributes } => (lent("secret", secret, attributes), ""),
        MountKind::Ssh { agent, attributes } => (lent("ssh", agent, attributes), ""),
    };
    let from = mount
        .source()
        .map(|source| format!(" {}:{}", inputs[source.from.0], source.path))
        .unwrap_or_default();
    format!("{what}{from} at {}{access}", mount.target)
}

fn lent(kind: &str, what: &Lent, attributes: &Attributes) -> String {
    let Attributes { user, group, mode } = attributes;
    format!("{kind} {} owner {user}:{group} mode {mode:o}", lent_text(what))
}

fn lent_text(lent: &Lent) -> String {
    let required = if lent.required { " required" } else { "" };
    format!("{:?}{required}", lent.id)
}

fn file_line(file: &FileOp, inputs: &[String]) -> String {
    let base = file.base.map_or("scratch", |base| &inputs[base.0]);
    let actions: Vec<String> = file
        .actions
        .iter()
        .map(|action| match action {
            FileAction::Copy(copy) => copy_text(copy, inputs),
            FileAction::MakeDirectory(make) => {
                format!(
                    "make directory {} mode {:o}{}",
                    make.path,
                    make.mode,
                    owner_text(make.owner.as_ref())
                )
            }
            FileAction::MakeFile(make) => format!(
                "make file {} of {} bytes mode {:o}{}",
                make.path,
                make.content.len(),
                make.mode,
                owner_text(make.owner.as_ref())
            ),
        })
        .collect();
    let names = file
        .names
        .map(|names| format!(" names of {}", inputs[names.0]))
        .unwrap_or_default();
    format!("file on {base}{names}: {}", actions.join("; "))
}

fn copy_text(copy: &Copy, inputs: &[String]) -> String {
    let verb = match copy.unpack {
        Unpack::Never => "copy",
        Unpack::Archives => "copy or unpack",
    };
    let mut text = format!("{verb} {}:{} to {}", inputs[copy.from.0], copy.source, copy.destination);
    text += &owner_text(copy.owner.as_ref());
    if let Some(mode) = &copy.mode {
        text += &format!(" mode {mode}");
    }
    if let Some(pattern) = &copy.include {
        text += &format!(" only {pattern:?}");
    }
    if !copy.excludes.is_empty() {
        text += &format!(" without {:?}", copy.excludes);
    }
    text
}

fn owner_text(owner: Option<&Owner>) -> String {
    let name = |name: &UserName| match name {
        UserName::Id(id) => id.to_string(),
        UserName::Name(name) => name.clone(),
    };
    match owner {
        None => String::new(),
        Some(Owner { user, group: None }) => format!(" owner {}", name(user)),
        Some(Owner {
            user,
            group: Some(group),
        }) => format!(" owner {}:{}", name(user), name(group)),
    }
}
