package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// child is a server under test.
type child struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	answers *bufio.Scanner
	name    string
	addr    string
}

// startChild returns when the server listens. The end of ctx kills it.
func startChild(ctx context.Context, command []string, env ...string) (*child, error) {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "NODE_ENV=production")
	cmd.Env = append(cmd.Env, env...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &child{cmd: cmd, in: in, answers: bufio.NewScanner(out)}
	hello, err := c.answer()
	if err != nil {
		return nil, errors.Join(err, c.stop())
	}
	c.name, c.addr = hello.Name, fmt.Sprintf("127.0.0.1:%d", hello.Port)
	return c, nil
}

// do sends a command and waits for its answer, for as long as the context of startChild lasts.
func (c *child) do(command ...any) (reply, error) {
	if _, err := fmt.Fprintln(c.in, command...); err != nil {
		return reply{}, fmt.Errorf("%v: %w", command, err)
	}
	r, err := c.answer()
	if err != nil {
		return r, fmt.Errorf("%v: %w", command, err)
	}
	return r, nil
}

func (c *child) answer() (reply, error) {
	var r reply
	if !c.answers.Scan() {
		err := c.answers.Err()
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		return r, fmt.Errorf("the server has ended: %w", err)
	}
	if err := json.Unmarshal(c.answers.Bytes(), &r); err != nil {
		return r, fmt.Errorf("answer %q: %w", c.answers.Bytes(), err)
	}
	if r.Error != "" {
		return r, errors.New(r.Error)
	}
	return r, nil
}

func (c *child) resident() (int64, error) { return residentBytes(c.cmd.Process.Pid) }

// stopTimeout is how long a server may take to end by itself.
const stopTimeout = 10 * time.Second

func (c *child) stop() error {
	_ = c.in.Close()
	timer := time.AfterFunc(stopTimeout, func() { _ = c.cmd.Process.Kill() })
	defer timer.Stop()
	return c.cmd.Wait()
}
