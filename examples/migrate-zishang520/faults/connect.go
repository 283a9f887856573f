package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/twine-realtime/twine/examples/migrate-zishang520/client"
)

const joins = 500

// connect lets clients join one after the other, each as soon as the server has said that it may. A client nearby is
// that fast.
func connect(ctx context.Context, out io.Writer) error {
	for _, kind := range kinds {
		s, err := start(kind)
		if err != nil {
			return err
		}
		silent, err := joinsOn(ctx, s)
		s.close()
		if err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		fmt.Fprintf(out, "%-28s %d of %d clients were not answered within a second\n", kind+":", silent, joins)
	}
	return nil
}

func joinsOn(ctx context.Context, s *server) (silent int, err error) {
	for range joins {
		attempt, cancel := context.WithTimeout(ctx, time.Second)
		c, err := client.DialOnce(attempt, s.address, "", nil)
		cancel()
		switch {
		case err == nil:
			c.Close()
		case errors.Is(err, client.ErrSilent):
			silent++
		default:
			return silent, err
		}
	}
	return silent, ctx.Err()
}
