//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// runTwined runs the binary to its end.
func runTwined(t *testing.T, stdin string, env []string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	command := exec.CommandContext(t.Context(), binary, args...)
	command.Env = append(append(os.Environ(), "GORACE=atexit_sleep_ms=0"), env...)
	command.Stdin = strings.NewReader(stdin)
	var out, failure bytes.Buffer
	command.Stdout, command.Stderr = &out, &failure
	if err := command.Run(); command.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), failure.String(), command.ProcessState.ExitCode()
}

// TestPublishCommand: "twined publish" and a daemon that was started as ever.
func TestPublishCommand(t *testing.T) {
	d := startDaemon(t)
	listener := dialRaw(t, d, "")
	listener.subscribe("lobby")
	env := []string{"TWINE_URL=" + d.url(), "TWINE_DATA_DIR=" + d.dir}
	succeed := func(stdin string, args ...string) string {
		t.Helper()
		stdout, stderr, status := runTwined(t, stdin, env, append([]string{"publish"}, args...)...)
		if status != 0 || stderr != "" {
			t.Errorf("%q: status %d, %q", args, status, stderr)
		}
		return stdout
	}
	offset := strings.TrimSpace(succeed("", "lobby", `{"n": 0}`))
	packet := listener.wait(`42["message",{"n":0,"room":"lobby","timestamp":1`)
	if !strings.HasSuffix(packet, `,"`+offset+`"]`) {
		t.Errorf("offset %q was printed, and %s came", offset, packet)
	}
	succeed(`{"n": 1}`, "lobby", "-")
	offsets := strings.Fields(succeed("{\"n\": 2}\n\n{\"n\": 3}\n", "lobby", "--lines", "--id", "file"))
	again := strings.Fields(succeed("{\"n\": 2}\n\n{\"n\": 3}\n", "lobby", "--lines", "--id", "file"))
	if len(offsets) != 2 || fmt.Sprint(again) != fmt.Sprint(offsets) {
		t.Errorf("offsets are %q, and again %q", offsets, again)
	}
	succeed("", "lobby", `"a text"`, "--event", "news")
	if packet := listener.wait(`42["news",`); !strings.HasPrefix(packet, `42["news","a text","1`) {
		t.Errorf("got %s", packet)
	}
	checkNumbers(t, listener, 4)

	for name, test := range map[string]struct {
		env  []string
		args []string
		want string
	}{
		"wrong key":    {[]string{"TWINE_API_KEY=wrong"}, []string{"lobby", "1"}, "401 Unauthorized: wrong API key"},
		"nobody there": {[]string{"TWINE_URL=http://127.0.0.1:1"}, []string{"lobby", "1", "--attempts=1"}, "nothing answers at http://127.0.0.1:1"},
		"not JSON":     {nil, []string{"lobby", "hello"}, "not JSON"},
		"no message":   {nil, []string{"lobby"}, "the message is missing"},
		"no arguments": {nil, nil, "room"},
	} {
		stdout, stderr, status := runTwined(t, "", append(env, test.env...), append([]string{"publish"}, test.args...)...)
		if status != 1 || stdout != "" || !strings.HasPrefix(stderr, "twined: publish: ") || !strings.Contains(stderr, test.want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: status %d, %q, %q", name, status, stdout, stderr)
		}
	}
	// An argument that is no command is still refused, and the help names the command.
	if _, stderr, status := runTwined(t, "", nil, "serve"); status != 1 || !strings.Contains(stderr, "serve") {
		t.Errorf("status %d, %q", status, stderr)
	}
	if help, _, status := runTwined(t, "", nil, "--help"); status != 0 || !strings.Contains(help, "twined publish --help") {
		t.Errorf("status %d, %q", status, help)
	}
}
