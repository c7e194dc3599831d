//! The rules: their names, what each is about, and where to read more. Pages of ours are in `docs/rules/`.

use std::fmt;

/// Something that is allowed in a Dockerfile but not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// A stage's name has upper-case letters.
    StageNameCasing,
    /// `FROM … as` in different cases.
    FromAsCasing,
    /// An empty line in an instruction that goes on.
    NoEmptyContinuation,
    /// An instruction in another case than most.
    ConsistentInstructionCasing,
    /// Two stages of one name.
    DuplicateStageName,
    /// A stage named like something that always is.
    ReservedStageName,
    /// CMD or ENTRYPOINT in shell form.
    JsonArgsRecommended,
    /// MAINTAINER.
    MaintainerDeprecated,
    /// FROM with a variable that is not declared.
    UndefinedArgInFrom,
    /// A first WORKDIR that depends on the base image's.
    WorkdirRelativePath,
    /// A variable that is not set.
    UndefinedVar,
    /// CMD, ENTRYPOINT or HEALTHCHECK that a later one replaces.
    MultipleInstructionsDisallowed,
    /// ENV or LABEL without `=`.
    LegacyKeyValueFormat,
    /// A base image for another platform.
    InvalidBaseImagePlatform,
    /// `--platform=$TARGETPLATFORM`.
    RedundantTargetPlatform,
    /// A secret in ARG or ENV.
    SecretsUsedInArgOrEnv,
    /// FROM with a name that is wrong unless an argument is given.
    InvalidDefaultArgInFrom,
    /// `FROM --platform` that is always the same.
    FromPlatformFlagConstDisallowed,
    /// A source of COPY or ADD that the ignore file leaves out.
    CopyIgnoredFile,
    /// A comment above FROM or ARG that describes something else.
    InvalidDefinitionDescription,
    /// EXPOSE with an upper-case protocol.
    ExposeProtoCasing,
    /// EXPOSE with an address or a port of the host.
    ExposeInvalidFormat,
}

/// Name, address of the page (last part), description; in the order of [`Rule`].
const FACTS: [(Rule, &str, &str, &str); 22] = [
    (
        Rule::StageNameCasing,
        "StageNameCasing",
        "stage-name-casing",
        "Stage names should be lowercase",
    ),
    (
        Rule::FromAsCasing,
        "FromAsCasing",
        "from-as-casing",
        "The 'as' keyword should match the case of the 'from' keyword",
    ),
    (
        Rule::NoEmptyContinuation,
        "NoEmptyContinuation",
        "no-empty-continuation",
        "Empty continuation lines will become errors in a future release",
    ),
    (
        Rule::ConsistentInstructionCasing,
        "ConsistentInstructionCasing",
        "consistent-instruction-casing",
        "All commands within the Dockerfile should use the same casing (either upper or lower)",
    ),
    (
        Rule::DuplicateStageName,
        "DuplicateStageName",
        "duplicate-stage-name",
        "Stage names should be unique",
    ),
    (
        Rule::ReservedStageName,
        "ReservedStageName",
        "reserved-stage-name",
        "Reserved words should not be used as stage names",
    ),
    (
        Rule::JsonArgsRecommended,
        "JSONArgsRecommended",
        "json-args-recommended",
        "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
    ),
    (
        Rule::MaintainerDeprecated,
        "MaintainerDeprecated",
        "maintainer-deprecated",
        "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
    ),
    (
        Rule::UndefinedArgInFrom,
        "UndefinedArgInFrom",
        "undefined-arg-in-from",
        "FROM command must use declared ARGs",
    ),
    (
        Rule::WorkdirRelativePath,
        "WorkdirRelativePath",
        "workdir-relative-path",
        "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes",
    ),
    (
        Rule::UndefinedVar,
        "UndefinedVar",
        "undefined-var",
        "Variables should be defined before their use",
    ),
    (
        Rule::MultipleInstructionsDisallowed,
        "MultipleInstructionsDisallowed",
        "multiple-instructions-disallowed",
        "Multiple instructions of the same type should not be used in the same stage",
    ),
    (
        Rule::LegacyKeyValueFormat,
        "LegacyKeyValueFormat",
        "legacy-key-value-format",
        "Legacy key/value format with whitespace separator should not be used",
    ),
    (
        Rule::InvalidBaseImagePlatform,
        "InvalidBaseImagePlatform",
        "",
        "Base image platform does not match expected target platform",
    ),
    (
        Rule::RedundantTargetPlatform,
        "RedundantTargetPlatform",
        "redundant-target-platform",
        "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
    ),
    (
        Rule::SecretsUsedInArgOrEnv,
        "SecretsUsedInArgOrEnv",
        "secrets-used-in-arg-or-env",
        "Sensitive data should not be used in the ARG or ENV commands",
    ),
    (
        Rule::InvalidDefaultArgInFrom,
        "InvalidDefaultArgInFrom",
        "invalid-default-arg-in-from",
        "Default value for global ARG results in an empty or invalid base image name",
    ),
    (
        Rule::FromPlatformFlagConstDisallowed,
        "FromPlatformFlagConstDisallowed",
        "from-platform-flag-const-disallowed",
        "FROM --platform flag should not use a constant value",
    ),
    (
        Rule::CopyIgnoredFile,
        "CopyIgnoredFile",
        "copy-ignored-file",
        "Attempting to Copy file that is excluded by .dockerignore",
    ),
    (
        Rule::InvalidDefinitionDescription,
        "InvalidDefinitionDescription",
        "invalid-definition-description",
        "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not intended to be a description comment, add an empty line or comment between the instruction and the comment.",
    ),
    (
        Rule::ExposeProtoCasing,
        "ExposeProtoCasing",
        "expose-proto-casing",
        "Protocol in EXPOSE instruction should be lowercase",
    ),
    (
        Rule::ExposeInvalidFormat,
        "ExposeInvalidFormat",
        "expose-invalid-format",
        "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future release",
    ),
];

impl Rule {
    /// All rules.
    pub fn all() -> impl Iterator<Item = Rule> {
        FACTS.iter().map(|fact| fact.0)
    }

    fn fact(self) -> &'static (Rule, &'static str, &'static str, &'static str) {
        &FACTS[self as usize]
    }

    /// As `# check=skip=…` names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.fact().1
    }

    /// What it is about, in one sentence.
    #[must_use]
    pub fn description(self) -> &'static str {
        self.fact().3
    }

    /// Where to read more, if there is a page.
    #[must_use]
    pub fn url(self) -> Option<String> {
        match self.fact().2 {
            "" => None,
            page => Some(format!("https://docs.docker.com/go/dockerfile/rule/{page}/")),
        }
    }

    /// Whether it counts only where it is asked for.
    #[must_use]
    pub fn is_experimental(self) -> bool {
        self == Rule::InvalidDefinitionDescription
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_stand_in_the_order_of_the_rules() {
        for rule in Rule::all() {
            assert_eq!(rule.fact().0, rule);
        }
    }
}
