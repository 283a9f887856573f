//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// daemon is a running twined.
type daemon struct {
	t              *testing.T
	process        *exec.Cmd
	stdout, stderr *lines
	dir, host, key string
	exited         chan struct{} // closed when the process is gone
	client         *http.Client
}

// startDaemon starts twined on a free port and with a data folder of its own, which the arguments may override. Its
// end is checked when the test ends.
func startDaemon(t *testing.T, args ...string) *daemon {
	t.Helper()
	d := launch(t, filepath.Join(t.TempDir(), "data"), args...)
	t.Cleanup(d.stop)
	return d
}

// launch starts twined on the data folder dir, and waits until it listens.
func launch(t *testing.T, dir string, args ...string) *daemon {
	t.Helper()
	d := &daemon{t: t, dir: dir, exited: make(chan struct{}), client: &http.Client{
		Timeout:   patience,
		Transport: &http.Transport{MaxIdleConnsPerHost: 16},
	}}
	d.process = exec.Command(binary, append([]string{"--listen", "127.0.0.1:0", "--data-dir", dir}, args...)...)
	d.process.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	stdout, err := d.process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := d.process.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.process.Start(); err != nil {
		t.Fatal(err)
	}
	d.stdout, d.stderr = collect(stdout), collect(stderr)
	go func() {
		<-d.stdout.ended
		<-d.stderr.ended
		d.process.Wait()
		close(d.exited)
	}()
	t.Cleanup(func() {
		d.process.Process.Kill() // only a test that failed has left it running
		<-d.exited
	})
	var entry struct{ Address string }
	line := d.stderr.waitFor(t, 0, "twined listens", func(line string) bool { return strings.Contains(line, `"listening"`) })
	if err := json.Unmarshal([]byte(line), &entry); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	d.host = entry.Address
	if key, err := os.ReadFile(filepath.Join(dir, "api-key")); err == nil {
		d.key = strings.TrimSpace(string(key))
	}
	return d
}

func (d *daemon) url() string { return "http://" + d.host }

// stop ends the daemon as an operator would, and checks that it lived a clean life.
func (d *daemon) stop() {
	d.t.Helper()
	d.process.Process.Signal(syscall.SIGTERM)
	d.waitExit(0)
}

func (d *daemon) waitExit(status int) {
	d.t.Helper()
	eventually(d.t, "twined exits", func() bool {
		select {
		case <-d.exited:
			return true
		default:
			return false
		}
	})
	d.client.CloseIdleConnections()
	if got := d.process.ProcessState.ExitCode(); got != status {
		d.t.Errorf("twined exited with status %d, want %d:\n%s", got, status, d.stderr)
	}
	for _, sign := range []string{"panic", "DATA RACE", "goroutine "} {
		if strings.Contains(d.stderr.String(), sign) {
			d.t.Errorf("twined's log has %q:\n%s", sign, d.stderr)
			return
		}
	}
}

func (d *daemon) do(t *testing.T, method, path string, header http.Header, body io.Reader) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequest(method, d.url()+path, body)
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		request.Header = header
	}
	response, err := d.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(text)
}

// publish sends a message to a room as a backend does. Unlike do, it may be called from any goroutine.
func (d *daemon) publish(room string, payload any) error {
	body, err := json.Marshal(map[string]any{"room_id": room, "payload": payload})
	if err != nil {
		return err
	}
	request, err := http.NewRequest("POST", d.url()+"/api/twine", bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", d.key)
	response, err := d.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusCreated || string(text) != "ok" {
		return fmt.Errorf("publish: %s %s", response.Status, text)
	}
	return nil
}
