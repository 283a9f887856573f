package target

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

const (
	startTimeout = 60 * time.Second
	// poll is how often a server that starts is asked whether it is there.
	poll = 10 * time.Millisecond
)

// process is a Target that is a child process. Its folder holds whatever it keeps, and its log.
type process struct {
	name, addr, key string
	dir             string
	keep            bool
	command         func() *exec.Cmd
	failed          chan error

	mu      sync.Mutex
	running *exec.Cmd
	gone    chan struct{} // closed when running has ended
	wanted  bool          // nobody stopped it
}

const key = "twinecheck"

// newProcess prepares a server with a folder and a port of its own.
func newProcess(name string, keep bool) (*process, error) {
	dir, err := os.MkdirTemp("", "twinecheck-")
	if err != nil {
		return nil, err
	}
	// Take a port that is free now. The server has to come back to the same one after a restart, so it cannot choose.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	return &process{name: name, addr: listener.Addr().String(), key: key, dir: dir, keep: keep, failed: make(chan error, 1)}, nil
}

func (p *process) Name() string          { return p.name }
func (p *process) Addr() string          { return p.addr }
func (p *process) PublisherAddr() string { return p.addr }
func (p *process) Key() string           { return p.key }
func (p *process) Failed() <-chan error  { return p.failed }

func (p *process) logPath() string { return filepath.Join(p.dir, "log") }

func (p *process) Start(ctx context.Context) error {
	log, err := os.OpenFile(p.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	command := p.command()
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	gone := make(chan struct{})
	p.mu.Lock()
	p.running, p.gone, p.wanted = command, gone, true
	p.mu.Unlock()
	go func() {
		err := command.Wait()
		p.mu.Lock()
		wanted := p.wanted
		p.mu.Unlock()
		if wanted {
			select {
			case p.failed <- fmt.Errorf("%s ended by itself (%v):\n%s", p.name, err, p.logTail()):
			default:
			}
		}
		close(gone)
	}()
	return p.waitReady(ctx, gone)
}

func (p *process) waitReady(ctx context.Context, gone <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.addr+"/healthz", nil)
		if err != nil {
			return err
		}
		if response, err := client.Do(request); err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-gone:
			return fmt.Errorf("%s ended while it started:\n%s", p.name, p.logTail())
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w\n%s", p.name, context.Cause(ctx), p.logTail())
		case <-time.After(poll):
		}
	}
}

func (p *process) Stop(ctx context.Context, signal syscall.Signal) error {
	p.mu.Lock()
	command, gone := p.running, p.gone
	p.running, p.wanted = nil, false
	p.mu.Unlock()
	if command == nil {
		return nil
	}
	if err := command.Process.Signal(signal); err != nil {
		return fmt.Errorf("signal %s: %w", p.name, err)
	}
	select {
	case <-gone:
	case <-ctx.Done():
		command.Process.Kill()
		<-gone
		return fmt.Errorf("%s did not end after %s:\n%s", p.name, signal, p.logTail())
	}
	if code := command.ProcessState.ExitCode(); signal != syscall.SIGKILL && code != 0 {
		return fmt.Errorf("%s ended with status %d after %s:\n%s", p.name, code, signal, p.logTail())
	}
	return nil
}

func (p *process) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	err := p.Stop(ctx, syscall.SIGTERM)
	if text, readErr := os.ReadFile(p.logPath()); err == nil && readErr == nil {
		for _, sign := range []string{"panic", "DATA RACE", "fatal error"} {
			if at := bytes.Index(text, []byte(sign)); at >= 0 {
				err = fmt.Errorf("the log of %s says %q:\n%.2000s", p.name, sign, text[at:])
				break
			}
		}
	}
	if p.keep {
		fmt.Fprintln(os.Stderr, "kept:", p.dir)
		return err
	}
	if removeErr := os.RemoveAll(p.dir); err == nil {
		err = removeErr
	}
	return err
}

// logTail returns the end of what the server logged.
func (p *process) logTail() []byte {
	const size = 4 << 10
	text, err := os.ReadFile(p.logPath())
	if err != nil {
		return nil
	}
	return text[max(0, len(text)-size):]
}
