package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// daemon is twined, built from this module.
type daemon struct {
	cmd  *exec.Cmd
	addr string
	log  chan struct{} // closed when its log has ended
}

const daemonKey = "benchmark"

// startDaemon builds twined in dir, which becomes its data folder too, and returns when it listens. The end of ctx kills
// it.
func startDaemon(ctx context.Context, dir string) (*daemon, error) {
	binary := filepath.Join(dir, "twined")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", binary, "github.com/twine-realtime/twine/cmd/twined").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build of twined: %w\n%s", err, out)
	}
	d := &daemon{
		cmd: exec.CommandContext(ctx, binary, "--listen", "127.0.0.1:0", "--data-dir", filepath.Join(dir, "data"),
			"--api-key", daemonKey, "--log-format", "json"),
		log: make(chan struct{}),
	}
	out, err := d.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	addr := make(chan string, 1)
	go func() {
		defer close(d.log)
		findAddress(out, addr)
	}()
	if d.addr = <-addr; d.addr == "" {
		return nil, errors.Join(errors.New("twined does not listen"), d.stop())
	}
	return d, nil
}

// findAddress reads a log to its end. It sends the address that the log names, or "".
func findAddress(log io.Reader, addr chan<- string) {
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		var line struct{ Msg, Address string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "listening" {
			addr <- line.Address
		}
	}
	close(addr)
}

func (d *daemon) stop() error {
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.AfterFunc(stopTimeout, func() { _ = d.cmd.Process.Kill() })
	defer timer.Stop()
	<-d.log
	return d.cmd.Wait()
}

// newPublisher connects a backend that publishes over POST /api/twine, on one connection.
func (d *daemon) newPublisher(requests [][]byte) (publisher, error) {
	conn, err := net.DialTimeout("tcp", d.addr, publishTimeout)
	if err != nil {
		return publisher{}, err
	}
	answers := bufio.NewReader(conn)
	return publisher{close: conn.Close, publish: func(n int) error {
		if err := conn.SetDeadline(time.Now().Add(publishTimeout)); err != nil {
			return err
		}
		if _, err := conn.Write(requests[n%len(requests)]); err != nil {
			return err
		}
		return expectCreated(answers)
	}}, nil
}

// publishRequests returns a request for each room, with a payload of size characters.
func publishRequests(host string, size int) [][]byte {
	requests := make([][]byte, publishRooms)
	for i := range requests {
		body := fmt.Sprintf(`{"room_id":"%s","payload":{"text":"%s"}}`, publishRoom(i), payload(0, size))
		requests[i] = fmt.Appendf(nil, "POST /api/twine HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\nContent-Type: application/json\r\n"+
			"Content-Length: %d\r\n\r\n%s", host, daemonKey, len(body), body)
	}
	return requests
}

// expectCreated reads one response. It is a fraction of net/http's client because that would take more of the CPU than
// the daemon does.
func expectCreated(r *bufio.Reader) error {
	status, err := r.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(status, []byte("HTTP/1.1 201 ")) {
		return fmt.Errorf("publish: answer %.100q", status)
	}
	length := -1
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		name, value, _ := bytes.Cut(bytes.TrimSpace(line), []byte(":"))
		if len(name) == 0 {
			break
		}
		if strings.EqualFold(string(name), "Content-Length") {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return fmt.Errorf("publish: answer with %.100q", line)
			}
		}
	}
	if length < 0 {
		return errors.New("publish: answer without a length")
	}
	_, err = r.Discard(length)
	return err
}
