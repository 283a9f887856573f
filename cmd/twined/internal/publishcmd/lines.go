package publishcmd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/twine-realtime/twine/twine/publish"
)

// line is a message of one line. It goes through the publisher as the message's data, so that the line's number comes back.
type line struct {
	number int
	text   []byte
}

// MarshalJSON implements json.Marshaler: the line is JSON.
func (l line) MarshalJSON() ([]byte, error) { return l.text, nil }

// progress of the lines on their way.
type progress struct {
	stdout io.Writer

	mu        sync.Mutex
	published int
	failure   error // the first one
	failed    context.CancelFunc
}

// settle prints the offset of a line. It is told of them in their order.
func (p *progress) settle(number int, result publish.Result, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		p.published++
		_, err = fmt.Fprintln(p.stdout, result.Offset)
	} else {
		err = fmt.Errorf("line %d: %w", number, err)
	}
	if err != nil && p.failure == nil {
		p.failure = err
		p.failed()
	}
}

func (s *settings) publishLines(ctx context.Context, client *publish.Client, stdin io.Reader, stdout io.Writer) error {
	// reading ends with the first failure.
	reading, stop := context.WithCancel(ctx)
	defer stop()
	p := &progress{stdout: stdout, failed: stop}
	publisher := publish.NewPublisher(client, publish.PublisherOptions{Done: func(o publish.Outcome) {
		err := o.Err
		if err != nil {
			err = s.explain(err)
		}
		p.settle(o.Message.Data.(line).number, o.Result, err)
	}})
	readError := s.sendAll(reading, publisher, scan(reading, stdin))
	stop()
	closeError := publisher.Close(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	err := p.failure
	if err == nil {
		err = errors.Join(readError, closeError)
	}
	if err != nil {
		return fmt.Errorf("%w; %d lines were published", err, p.published)
	}
	return nil
}

// sendAll queues lines until there are no more, one is malformed, or ctx ends.
func (s *settings) sendAll(ctx context.Context, publisher *publish.Publisher, lines <-chan scanned) error {
	for {
		select {
		case l, ok := <-lines:
			if !ok {
				return nil
			}
			if l.err != nil {
				return l.err
			}
			if err := s.send(ctx, publisher, l.line); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *settings) send(ctx context.Context, publisher *publish.Publisher, l line) error {
	if err := checkJSON(l.text); err != nil {
		return fmt.Errorf("line %d: %w", l.number, err)
	}
	id := s.ID
	if id != "" {
		id = fmt.Sprintf("%s/%d", id, l.number)
	}
	return publisher.Send(ctx, s.message(l.text, l, id))
}

// scanned is a line, or why there are no more.
type scanned struct {
	line
	err error
}

// scan returns the lines of r that are not empty, until ctx ends. If r blocks then, its goroutine outlives ctx for as long as
// r does.
func scan(ctx context.Context, r io.Reader) <-chan scanned {
	out := make(chan scanned)
	send := func(s scanned) bool {
		select {
		case out <- s:
			return true
		case <-ctx.Done():
			return false
		}
	}
	go func() {
		defer close(out)
		scanner := bufio.NewScanner(r)
		scanner.Buffer(nil, maxMessageBytes)
		number := 0
		for scanner.Scan() {
			number++
			text := strings.TrimSpace(scanner.Text())
			if text != "" && !send(scanned{line: line{number, []byte(text)}}) {
				return
			}
		}
		err := scanner.Err()
		if errors.Is(err, bufio.ErrTooLong) {
			err = fmt.Errorf("line %d: it is longer than %d bytes, more than the daemon takes", number+1, maxMessageBytes)
		}
		if err != nil {
			send(scanned{err: err})
		}
	}()
	return out
}
