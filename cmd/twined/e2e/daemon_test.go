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
	args           []string
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
	d, refusal := tryLaunch(t, dir, args...)
	if d == nil {
		t.Fatalf("twined does not start: %s", refusal)
	}
	return d
}

// tryLaunch starts twined, and waits until it listens or has ended. Then it returns what that has written, and no daemon.
func tryLaunch(t *testing.T, dir string, args ...string) (d *daemon, refusal string) {
	t.Helper()
	d = &daemon{t: t, dir: dir, args: args, exited: make(chan struct{}), client: &http.Client{
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
	var listening string
	eventually(t, "twined listens, or has ended", func() bool {
		for _, line := range d.stderr.from(0) {
			if strings.Contains(line, `"listening"`) {
				listening = line
			}
		}
		return listening != "" || d.hasExited()
	})
	if listening == "" {
		return nil, d.stderr.String() + "\n"
	}
	if err := json.Unmarshal([]byte(listening), &entry); err != nil {
		t.Fatalf("%v: %s", err, listening)
	}
	d.host = entry.Address
	if key, err := os.ReadFile(filepath.Join(dir, "api-key")); err == nil {
		d.key = strings.TrimSpace(string(key))
	}
	return d, ""
}

func (d *daemon) hasExited() bool {
	select {
	case <-d.exited:
		return true
	default:
		return false
	}
}

func (d *daemon) url() string { return "http://" + d.host }

// stop ends the daemon as an operator would, and checks that it lived a clean life.
func (d *daemon) stop() {
	d.t.Helper()
	d.process.Process.Signal(syscall.SIGTERM)
	d.waitExit(0)
}

// kill ends the daemon as a power cut would.
func (d *daemon) kill() {
	d.t.Helper()
	d.process.Process.Kill()
	d.waitExit(-1)
}

// again starts the daemon, which has ended, on the same address and data folder.
func (d *daemon) again() *daemon {
	d.t.Helper()
	return launch(d.t, d.dir, append(d.args, "--listen", d.host)...)
}

func (d *daemon) waitExit(status int) {
	d.t.Helper()
	eventually(d.t, "twined exits", d.hasExited)
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
	response, text, err := d.tryPublish(room, "", payload)
	if err == nil && (response.StatusCode != http.StatusCreated || text != "ok") {
		err = fmt.Errorf("publish: %s %s", response.Status, text)
	}
	return err
}

// tryPublish sends a message, with an Idempotency-Key unless that is empty. An error means that there was no answer.
func (d *daemon) tryPublish(room, key string, payload any) (response *http.Response, text string, err error) {
	body, err := json.Marshal(map[string]any{"room_id": room, "payload": payload})
	if err != nil {
		return nil, "", err
	}
	request, err := http.NewRequest("POST", d.url()+"/api/twine", bytes.NewReader(body))
	if err != nil {
		return nil, "", err
	}
	request.Header.Set("Authorization", d.key)
	if key != "" {
		request.Header.Set("Idempotency-Key", key)
	}
	response, err = d.client.Do(request)
	if err != nil {
		return nil, "", err
	}
	defer response.Body.Close()
	read, err := io.ReadAll(response.Body)
	return response, string(read), err
}
