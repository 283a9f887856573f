// Package localtwined builds and starts a twined for an example, so that the example is one command.
package localtwined

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

const daemonPackage = "github.com/twine-realtime/twine/cmd/twined"

// Daemon is a twined of the example's own, on a free port of this machine and with its data in a temporary folder.
type Daemon struct {
	URL, Key string
	// Ended gets the daemon's error, or nil, when it has ended, and is closed then.
	Ended <-chan error

	process *os.Process
	folder  string
}

// Start returns when the daemon listens. What it logs afterwards goes to standard error.
func Start(ctx context.Context) (_ *Daemon, err error) {
	folder, err := os.MkdirTemp("", "twine-example-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(folder)
		}
	}()
	binary := filepath.Join(folder, "twined")
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, daemonPackage)
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return nil, fmt.Errorf("build %s: %w", daemonPackage, err)
	}

	key := rand.Text()
	twined := exec.Command(binary, "--listen", "127.0.0.1:0", "--data-dir", filepath.Join(folder, "data"), "--log-format", "json")
	twined.Env = append(os.Environ(), "TWINE_API_KEY="+key) // not an argument: others can see those
	log, err := twined.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := twined.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(log)
	address, err := listeningAddress(lines)
	if err != nil {
		return nil, errors.Join(err, twined.Process.Kill(), twined.Wait())
	}
	ended := make(chan error, 1)
	go func() {
		for lines.Scan() {
			fmt.Fprintln(os.Stderr, lines.Text())
		}
		ended <- twined.Wait()
		close(ended)
	}()
	return &Daemon{URL: "http://" + address, Key: key, Ended: ended, process: twined.Process, folder: folder}, nil
}

// listeningAddress reads the daemon's log up to the line that says where it listens.
func listeningAddress(lines *bufio.Scanner) (string, error) {
	for lines.Scan() {
		var entry struct{ Msg, Address string }
		if json.Unmarshal(lines.Bytes(), &entry) != nil {
			fmt.Fprintln(os.Stderr, lines.Text())
		}
		if entry.Msg == "listening" {
			return entry.Address, nil
		}
	}
	return "", errors.New("it ended before it listened")
}

// Stop ends the daemon, waits for that, and removes its data.
func (d *Daemon) Stop() {
	d.process.Signal(syscall.SIGTERM)
	<-d.Ended
	os.RemoveAll(d.folder)
}
