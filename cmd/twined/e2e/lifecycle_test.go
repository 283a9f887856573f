//go:build e2e

package e2e

import (
	"bytes"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestGeneratedKey(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	first := launch(t, dir)
	key := first.key
	info, err := os.Stat(filepath.Join(dir, "api-key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v", info, err)
	}
	if out := first.stdout.String(); key == "" || strings.Count(out, key) != 1 {
		t.Errorf("the first start printed %q, want the key %q once", out, key)
	}
	if strings.Contains(first.stderr.String(), key) {
		t.Error("the key is in the log")
	}
	if err := first.publish("r", map[string]int{}); err != nil {
		t.Error(err)
	}
	first.stop()

	second := launch(t, dir)
	if out := second.stdout.String(); second.key != key || out != "" {
		t.Errorf("the second start has key %q and printed %q", second.key, out)
	}
	if err := second.publish("r", map[string]int{}); err != nil {
		t.Error(err)
	}
	second.stop()
}

func TestGivenKeys(t *testing.T) {
	d := startDaemon(t, "--api-key", "one", "--api-key", "two")
	for _, d.key = range []string{"one", "two"} {
		if err := d.publish("r", map[string]int{}); err != nil {
			t.Errorf("key %s: %v", d.key, err)
		}
	}
	d.key = "three"
	if err := d.publish("r", map[string]int{}); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("key three: %v", err)
	}
	if _, err := os.Stat(filepath.Join(d.dir, "api-key")); err == nil {
		t.Error("a key was generated though others were given")
	}
}

func TestHealth(t *testing.T) {
	d := startDaemon(t)
	for path, want := range map[string]int{"/": 201, "/healthz": 200, "/readyz": 200, "/nothing": 404} {
		response, text := d.do(t, "GET", path, nil, nil)
		if response.StatusCode != want || want == 201 && text != "ok" {
			t.Errorf("GET %s: %s %q", path, response.Status, text)
		}
	}
}

// TestTerminate: clients see their connection end, not a Socket.IO disconnect, which would keep them from coming back.
func TestTerminate(t *testing.T) {
	for name, signal := range map[string]os.Signal{"SIGTERM": syscall.SIGTERM, "SIGINT": syscall.SIGINT} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			d := launch(t, dir)
			clients := map[string]*node{}
			for transport := range variants {
				if transport != "upgrade" {
					clients[transport] = startNode(t, "subscriber.mjs", d.url(),
						`{"package": "socket.io-client", "options": {"transports": ["`+transport+`"]}, "rooms": ["r"]}`)
				}
			}
			for _, n := range clients {
				n.waitEvent("roomJoined", 1)
			}
			d.process.Process.Signal(signal)
			d.waitExit(0)
			for transport, n := range clients {
				if reason := n.waitEvent("disconnect", 1).text(1); reason == "io server disconnect" {
					t.Errorf("%s: the client is told not to come back", transport)
				}
			}
			again := launch(t, dir, "--listen", d.host)
			defer again.stop()
			for _, n := range clients {
				n.waitEvent("roomJoined", 2)
			}
		})
	}
}

// TestDrainIsBounded: a client that never lets go does not keep the daemon.
func TestDrainIsBounded(t *testing.T) {
	d := launch(t, filepath.Join(t.TempDir(), "data"), "--drain", "300ms")
	defer holdPublish(t, d).Close()
	d.process.Process.Signal(syscall.SIGTERM)
	d.waitExit(0)
}

func TestSecondSignalLeavesAtOnce(t *testing.T) {
	d := launch(t, filepath.Join(t.TempDir(), "data"), "--drain", "10m")
	defer holdPublish(t, d).Close()
	d.process.Process.Signal(syscall.SIGTERM)
	d.stderr.waitFor(t, 0, "the shutdown begins", func(line string) bool { return strings.Contains(line, "shutting down") })
	d.process.Process.Signal(syscall.SIGTERM)
	d.waitExit(1)
}

// holdPublish begins a publish that never ends.
func holdPublish(t *testing.T, d *daemon) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", d.host)
	if err != nil {
		t.Fatal(err)
	}
	request := "POST /api/twine HTTP/1.1\r\nHost: twined\r\nAuthorization: " + d.key + "\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n"
	if _, err := conn.Write([]byte(request)); err != nil {
		t.Fatal(err)
	}
	// The server asks for the body once the handler is at work.
	answer := make([]byte, 64)
	if n, err := conn.Read(answer); err != nil || !bytes.HasPrefix(answer[:n], []byte("HTTP/1.1 100 ")) {
		t.Fatalf("answer %q, %v", answer[:n], err)
	}
	return conn
}

func TestStartThatFails(t *testing.T) {
	d := startDaemon(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"busy port":   {[]string{"--listen", d.host}, "address is in use"},
		"bad address": {[]string{"--listen", "nowhere:port"}, "cannot listen on nowhere:port"},
		"data folder": {[]string{"--listen", "127.0.0.1:0", "--data-dir", file}, "API key"},
		"bad flag":    {[]string{"--lisen", "x"}, "--lisen"},
		"no key":      {[]string{"--redis-url", "redis://127.0.0.1"}, "same API key"},
	} {
		t.Run(name, func(t *testing.T) {
			process := exec.Command(binary, test.args...)
			process.Dir = t.TempDir()
			out, _ := process.CombinedOutput()
			text := string(out)
			if process.ProcessState.ExitCode() != 1 || strings.Count(text, "\n") != 1 || !strings.HasPrefix(text, "twined: ") || !strings.Contains(text, test.want) {
				t.Errorf("exit status %d, output %q, want one line with %q", process.ProcessState.ExitCode(), text, test.want)
			}
			if left, _ := os.ReadDir(process.Dir); len(left) > 0 {
				t.Errorf("it left %v behind", left)
			}
		})
	}
}

func TestCrossOrigin(t *testing.T) {
	const page = "https://app.example.com"
	d := startDaemon(t)
	for _, path := range []string{"/set-cookie", "/socket.io/?EIO=4&transport=polling", "/"} {
		response, _ := d.do(t, "GET", path, http.Header{"Origin": {page}}, nil)
		if got := response.Header; got.Get("Access-Control-Allow-Origin") != page || got.Get("Access-Control-Allow-Credentials") != "true" {
			t.Errorf("GET %s: %v", path, got)
		}
	}
	preflight := http.Header{
		"Origin":                         {page},
		"Access-Control-Request-Method":  {"POST"},
		"Access-Control-Request-Headers": {"authorization,content-type"},
	}
	response, _ := d.do(t, "OPTIONS", "/api/twine", preflight, nil)
	if got := response.Header; response.StatusCode != 204 || got.Get("Access-Control-Allow-Origin") != page ||
		!strings.Contains(got.Get("Access-Control-Allow-Headers"), "authorization") || got.Get("Access-Control-Allow-Methods") != "POST" {
		t.Errorf("preflight: %s %v", response.Status, got)
	}
}

func TestOriginsThatAreNotAllowed(t *testing.T) {
	d := startDaemon(t, "--cors-origin", "https://app.example.com")
	for origin, want := range map[string]int{"https://app.example.com": 200, "https://other.example.com": 403, "http://" + d.host: 200, "": 200} {
		header := http.Header{}
		if origin != "" {
			header.Set("Origin", origin)
		}
		response, text := d.do(t, "GET", "/socket.io/?EIO=4&transport=polling", header, nil)
		if response.StatusCode != want {
			t.Errorf("handshake from %q: %s %s", origin, response.Status, text)
		}
		if named := response.Header.Get("Access-Control-Allow-Origin"); named != "" && named != "https://app.example.com" {
			t.Errorf("handshake from %q names %q", origin, named)
		}
	}
}
