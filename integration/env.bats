#!/usr/bin/env bats
# process.env.

load helpers

@test "env: exactly what the config says, and HOME" {
	edit '.process.env = ["PATH=/bin", "ONE=1", "TWO=a=b c"] | .process.args = ["env"]'
	run_command -0 env SECRET=host "$PYRUNC" --root "$ROOT" run "$CT"
	expect_only $'PATH=/bin\nONE=1\nTWO=a=b c\nHOME=/root'
}

# newer than runc 1.1
@test "env: of duplicates the last value wins and keeps its place" {
	edit '.process.env = ["PATH=/nowhere", "A=1", "B=2", "A=3", "PATH=/bin"] | .process.args = ["env"]'
	run_pyrunc -0 run "$CT"
	expect_only $'B=2\nA=3\nPATH=/bin\nHOME=/root'
}

@test "env: values with newlines and other bytes" {
	edit '.process.env = ["PATH=/bin", "A=one\ntwo\n", "B=\u0001 ü \\ \"", "C="]'
	script 'printf "%s|%s|%s" "$A" "$B" "$C"'
	run_pyrunc -0 run "$CT"
	expect_only $'one\ntwo\n|\x01 ü \\ "|'
}

@test "env: an entry without =" {
	edit '.process.env += ["WRONG"]'
	run_pyrunc -1 run "$CT"
	expect "invalid environment variable"
	nothing_left "$CT"
}

# newer than runc 1.1
@test "env: an entry without =, without name, with NUL, in the contract's words" {
	edit '.process.env += ["WRONG"]'
	run_pyrunc -1 run "$CT"
	expect "invalid environment variable: missing '='"
	edit '.process.env[-1] = "=value"'
	run_pyrunc -1 run "$CT"
	expect 'invalid environment variable'
	edit '.process.env[-1] = "A=b\u0000c"'
	run_pyrunc -1 run "$CT"
	expect 'invalid environment variable'
}

@test "env: without PATH a bare command is not found" {
	edit '.process.env = [] | .process.args = ["nosuch"]'
	run_pyrunc -1 run "$CT"
	expect 'executable file not found in $PATH'
	edit '.process.args = ["/bin/env"]'
	run_pyrunc -0 run "$CT"
	expect_only HOME=/root
}

@test "env: a thousand variables and a long one" {
	edit '.process.env += [range(1000) | "V\(.)=\(.)"] + ["LONG=" + ("x" * 100000)]'
	script 'env | grep -c ^V; echo ${#LONG}'
	run_pyrunc -0 run "$CT"
	expect_only $'1000\n100000'
}
