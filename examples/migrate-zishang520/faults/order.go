package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/twine-realtime/twine/examples/migrate-zishang520/client"
)

const sent = 1000 // events of the client

// order lets a client send numbered events, and looks in which order the server's handler is called.
func order(ctx context.Context, out io.Writer) error {
	for _, kind := range kinds {
		s, err := start(kind)
		if err != nil {
			return err
		}
		handled, err := sendTo(ctx, s)
		s.close()
		if err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		swapped := 0
		for i := 1; i < len(handled); i++ {
			if handled[i] < handled[i-1] {
				swapped++
			}
		}
		fmt.Fprintf(out, "%-28s %d of %d events were handled, %d of them right after a later one\n", kind+":", len(handled), sent, swapped)
	}
	return nil
}

func sendTo(ctx context.Context, s *server) ([]int, error) {
	c, err := client.Dial(ctx, s.address, "", nil)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	// That library tells a client that it is connected before it calls the application. So the first event goes until
	// it is noticed.
	if err := until(ctx, func() bool {
		return c.Emit("n", -1) != nil || s.ready()
	}); err != nil {
		return nil, err
	}
	for i := range sent {
		if err := c.Emit("n", i); err != nil {
			return nil, err
		}
	}
	before, since := 0, time.Now()
	err = until(ctx, func() bool {
		if n := len(s.numbers()); n != before {
			before, since = n, time.Now()
		}
		return before >= sent || time.Since(since) > time.Second
	})
	return s.numbers(), err
}

func until(ctx context.Context, ok func() bool) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
