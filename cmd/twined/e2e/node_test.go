//go:build e2e

package e2e

import (
	"encoding/json"
	"io"
	"os/exec"
	"testing"
)

// node is a running script of testdata/js.
type node struct {
	t              *testing.T
	stdin          io.WriteCloser
	stdout, stderr *lines

	parsed int // lines of stdout that are in byName
	byName map[string][]event
}

// startNode runs a script until the test ends.
func startNode(t *testing.T, script string, args ...string) *node {
	t.Helper()
	process := exec.Command("node", append([]string{script}, args...)...)
	process.Dir = jsFolder
	n := &node{t: t, byName: map[string][]event{}}
	var err error
	if n.stdin, err = process.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := process.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	n.stdout, n.stderr = collect(stdout), collect(stderr)
	t.Cleanup(func() {
		n.stdin.Close() // the scripts end with their input
		<-n.stdout.ended
		<-n.stderr.ended
		if err := process.Wait(); err != nil {
			t.Errorf("%s: %v\n%s", script, err, n.stderr)
		}
		if t.Failed() {
			t.Logf("%s wrote:\n%s\n%s", script, tail(n.stdout), n.stderr)
		}
	})
	return n
}

func tail(l *lines) string {
	all := l.from(0)
	text, _ := json.MarshalIndent(all[max(0, len(all)-20):], "", " ")
	return string(text)
}

func (n *node) send(v any) {
	n.t.Helper()
	line, err := json.Marshal(v)
	if err != nil {
		n.t.Fatal(err)
	}
	if _, err := n.stdin.Write(append(line, '\n')); err != nil {
		n.t.Fatal(err)
	}
}

// event is a line of subscriber.mjs: a name and its arguments.
type event []json.RawMessage

func (e event) name() (name string) {
	json.Unmarshal(e[0], &name)
	return name
}

func (e event) text(i int) (text string) {
	if i < len(e) {
		json.Unmarshal(e[i], &text)
	}
	return text
}

// events returns all that the script has reported under the given name. It is for one goroutine at a time.
func (n *node) events(name string) []event {
	n.t.Helper()
	for _, line := range n.stdout.from(n.parsed) {
		n.parsed++
		var e event
		if err := json.Unmarshal([]byte(line), &e); err != nil || len(e) == 0 {
			n.t.Fatalf("script wrote %q: %v", line, err)
		}
		n.byName[e.name()] = append(n.byName[e.name()], e)
	}
	return n.byName[name]
}

// waitEvent waits until count events of that name have been reported, and returns the last of these.
func (n *node) waitEvent(name string, count int) event {
	n.t.Helper()
	var found []event
	eventually(n.t, name+" is reported", func() bool {
		found = n.events(name)
		return len(found) >= count
	})
	return found[count-1]
}
