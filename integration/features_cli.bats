#!/usr/bin/env bats
# features: the document that engines read when they start.

load helpers

@test "features: a JSON document, four blanks deep" {
	run --separate-stderr "$PYRUNC" features
	[[ $status -eq 0 ]]
	[[ -z $stderr ]]
	[[ ${lines[0]} == '{' ]]
	[[ ${lines[1]} == '    "'* ]]
	jq -e '.ociVersionMin == "1.0.0" and (.ociVersionMax | startswith("1."))' <<<"$output"
}

@test "features: what is in it" {
	run --separate-stderr "$PYRUNC" features
	jq -e '.hooks == ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]' <<<"$output"
	jq -e '(.mountOptions | index("tmpcopyup") != null) and (.mountOptions == (.mountOptions | sort))' <<<"$output"
	jq -e '.linux.namespaces | length == 8' <<<"$output"
	jq -e '.linux.cgroup | .v1 and .v2' <<<"$output"
	jq -e '.annotations["org.opencontainers.runc.version"] | length > 0' <<<"$output"
	jq -e '.potentiallyUnsafeConfigAnnotations | index("bundle") != null' <<<"$output"
}

@test "features: from an empty environment" {
	run env -i "$PYRUNC" features
	[[ $status -eq 0 ]]
	jq -e .linux.seccomp.enabled <<<"$output"
}
