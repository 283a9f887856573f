//go:build unix

package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

func script(t *testing.T, text string) *child {
	t.Helper()
	c, err := startChild("it", exec.Command("/bin/sh", "-c", text), nodeLine)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestChildThatDoesNotListenToSignals(t *testing.T) {
	c := script(t, `trap "" TERM; echo listening on here; exec sleep 60`)
	if address := <-c.listening; address != "here" {
		t.Errorf("it listens on %q", address)
	}
	c.stop(10 * time.Millisecond)
	if c.err == nil || c.err.Error() != "signal: killed" {
		t.Errorf("it ended: %v", c.err)
	}
	c.stop(0) // once more
}

func TestChildThatEnds(t *testing.T) {
	c := script(t, `for n in 1 2 3 4 5 6 7 8 9; do echo listening on $n; done; printf why >&2; exit 3`)
	<-c.ended
	text := c.failure().Error()
	if !strings.HasPrefix(text, "it ended: exit status 3\nlistening on 2\n") || !strings.HasSuffix(text, "9\nwhy") {
		t.Errorf("got %q", text)
	}
	if address := <-c.listening; address != "1" {
		t.Errorf("it listened on %q", address)
	}
}

func TestOutput(t *testing.T) {
	var lines []string
	o := &output{read: func(line string) (string, bool) { lines = append(lines, line); return "", false }}
	long := strings.Repeat("x", maxLine)
	for _, part := range []string{"a", "b\nc\n\n", "d", "\n", long, "y", "\n", "e"} {
		if n, err := o.Write([]byte(part)); n != len(part) || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
	// A line without an end is cut, and not kept for ever.
	if want := []string{"ab", "c", "", "d", long, ""}; !slices.Equal(lines, want) {
		t.Errorf("got %q", lines)
	}
	if last := o.last(); last[len(last)-1] != "e" {
		t.Errorf("the last are %q", last)
	}
}

func TestLines(t *testing.T) {
	for line, want := range map[string]struct {
		read    lineReader
		address string
		show    bool
	}{
		`{"level":"INFO","msg":"listening","address":"127.0.0.1:1"}`: {twinedLine, "127.0.0.1:1", false},
		`{"level":"INFO","msg":"stopped"}`:                           {twinedLine, "", false},
		`{"level":"WARN","msg":"waiting for Redis"}`:                 {twinedLine, "", true},
		`panic: no`:                             {twinedLine, "", true},
		`listening on [::1]:2`:                  {nodeLine, "[::1]:2", false},
		`redis: ECONNREFUSED`:                   {nodeLine, "", true},
		`1:M * Ready to accept connections tcp`: {redisLine, "redis", false},
		`1:M * Server initialized`:              {redisLine, "", false},
	} {
		if address, show := want.read(line); address != want.address || show != want.show {
			t.Errorf("%s: %q, %v", line, address, show)
		}
	}
}
