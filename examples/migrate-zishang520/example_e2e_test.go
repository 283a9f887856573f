//go:build e2e

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// dir has the two commands of this example.
var dir string

func TestMain(m *testing.M) { os.Exit(built(m)) }

func built(m *testing.M) int {
	var err error
	if dir, err = os.MkdirTemp("", "migrate-zishang520-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if out, err := exec.Command("go", "build", "-o", dir, ".", "./faults").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
		return 1
	}
	return m.Run()
}

func command(name string) string { return filepath.Join(dir, name) }

// output runs a command, which has to succeed.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	process := exec.Command(name, args...)
	var out, failed bytes.Buffer
	process.Stdout, process.Stderr = &out, &failed
	process.WaitDelay = time.Second
	timeout := time.AfterFunc(90*time.Second, func() { _ = process.Process.Kill() })
	defer timeout.Stop()
	if err := process.Run(); err != nil {
		t.Fatalf("%q: %v\n%s%s", args, err, out.String(), failed.String())
	}
	return out.String()
}

// The command shows every message on both nodes, with that library's node and without.
func TestMigration(t *testing.T) {
	got := output(t, command("migrate-zishang520"))
	for _, part := range []struct{ first, offset string }{
		{"zishang520", ""},
		{"new Twine", `,"\d+-\d+"`}, // Twine nodes add the offset
	} {
		first := part.first
		for _, receiver := range []struct{ who, node, offset string }{
			{"Anna", first, part.offset}, {"Bert", "Twine", `,"\d+-\d+"`},
		} {
			for _, event := range []string{
				fmt.Sprintf(`"said",{"from":"Anna","text":"hello from the %s node"}`, first),
				`"said",{"from":"Bert","text":"hello from the Twine node"}`,
				fmt.Sprintf(`"announced","an announcement of the %s node"`, first),
				`"announced","an announcement of the Twine node"`,
			} {
				line := fmt.Sprintf(`(?m)^      %s on the %s node received \[%s%s\]$`, receiver.who, receiver.node,
					regexp.QuoteMeta(event), receiver.offset)
				if !regexp.MustCompile(line).MatchString(got) {
					t.Errorf("no line %s", line)
				}
			}
		}
	}
	for _, line := range []string{"both count 2 servers", "Bert on the Twine node asks who is in the lobby: Anna, Bert"} {
		if n := strings.Count(got, line); n != 2 {
			t.Errorf("%d lines %q", n, line)
		}
	}
	if t.Failed() {
		t.Log(got)
	}
}

// What the bridge and Twine promise; what that library does by itself is measured, not promised.
func TestFaults(t *testing.T) {
	faults := command("faults")
	const bridged, ours = "zishang520 with the bridge:", "Twine:"
	for show, want := range map[string][]string{
		"malformed":  {"zishang520 as it is:         the process ended: exit status 2: panic:", bridged + "  closed the connection and went on", ours + "                       closed the connection and went on"},
		"burst":      {bridged + "  500 of 500 broadcasts arrived", ours + "                       500 of 500 broadcasts arrived"},
		"publishers": {bridged + "  2000 and 2000 of 2000 broadcasts arrived; the same order", ours + "                       2000 and 2000 of 2000 broadcasts arrived; the same order"},
		"order":      {ours + "                       1000 of 1000 events were handled, 0 of them"},
	} {
		t.Run(show, func(t *testing.T) {
			t.Parallel() // they mostly wait
			got := output(t, faults, "-show", show)
			t.Log("\n" + got)
			for _, line := range want {
				if !strings.Contains(got, line) {
					t.Errorf("no line %q", line)
				}
			}
		})
	}
	if out, err := exec.Command(faults, "-show", "nothing").CombinedOutput(); err == nil || !strings.Contains(string(out), "want one of burst, connect") {
		t.Errorf("-show nothing: %v\n%s", err, out)
	}
}

func TestWithoutRedis(t *testing.T) {
	process := exec.Command(command("migrate-zishang520"))
	process.Env = []string{"PATH=" + t.TempDir()}
	out, err := process.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "redis-server is not installed") {
		t.Errorf("%v\n%s", err, out)
	}
}
