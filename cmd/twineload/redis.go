package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// redisServer is what --cluster's servers share.
type redisServer struct {
	url   string
	cmd   *exec.Cmd
	log   string
	ended chan struct{} // closed when the process is gone
}

// startRedis returns when redis-server answers.
func startRedis(ctx context.Context, program, dir string, args []string) (*redisServer, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	r := &redisServer{url: fmt.Sprintf("redis://127.0.0.1:%d/0", port), log: filepath.Join(dir, "redis.log"), ended: make(chan struct{})}
	log, err := os.Create(r.log)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the process has its own
	r.cmd = exec.Command(program, append([]string{"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--appendonly", "no"}, args...)...)
	r.cmd.Stdout, r.cmd.Stderr = log, log
	if err := r.cmd.Start(); err != nil {
		return nil, fmt.Errorf("--cluster needs redis-server (--redis-server names it): %w", err)
	}
	go func() {
		_ = r.cmd.Wait()
		close(r.ended)
	}()
	if err := r.awaitAnswer(ctx, fmt.Sprintf("127.0.0.1:%d", port)); err != nil {
		r.stop()
		return nil, err
	}
	return r, nil
}

// freePort returns a port that nobody listens on at the moment.
func freePort() (int, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func (r *redisServer) awaitAnswer(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for !pong(ctx, addr) {
		select {
		case <-poll.C:
		case <-ctx.Done():
			return fmt.Errorf("redis-server does not answer: %w", ctx.Err())
		case <-r.ended:
			return r.alive()
		}
	}
	return nil
}

// pong says whether a Redis server answers.
func pong(ctx context.Context, addr string) bool {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp4", addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	answer := make([]byte, 7)
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	n, _ := conn.Read(answer)
	return bytes.HasPrefix(answer[:n], []byte("+PONG"))
}

// alive returns an error if the server has ended.
func (r *redisServer) alive() error {
	select {
	case <-r.ended:
		text, err := os.ReadFile(r.log)
		return errors.Join(fmt.Errorf("redis-server has ended by itself:\n%s", text), err)
	default:
		return nil
	}
}

func (r *redisServer) stop() {
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.AfterFunc(stopTimeout, func() { _ = r.cmd.Process.Kill() })
	defer timer.Stop()
	<-r.ended
}
