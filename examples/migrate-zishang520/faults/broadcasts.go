package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/twine-realtime/twine/examples/migrate-zishang520/client"
)

const each = 500 // broadcasts of a publisher

// burst broadcasts as fast as it can, to one client.
func burst(ctx context.Context, out io.Writer) error {
	return broadcasts(ctx, 1, 1, func(kind string, got [][]string, total int) {
		fmt.Fprintf(out, "%-28s %d of %d broadcasts arrived\n", kind+":", len(got[0]), total)
	})
}

// publishers lets four goroutines do so at the same time, for two clients.
func publishers(ctx context.Context, out io.Writer) error {
	const n = 4
	return broadcasts(ctx, n, 2, func(kind string, got [][]string, total int) {
		var arrived []string
		for _, events := range got {
			arrived = append(arrived, fmt.Sprint(len(events)))
		}
		order := "the same order for both clients"
		if !slices.Equal(got[0], got[1]) {
			order = "not the same for both clients"
		}
		fmt.Fprintf(out, "%-28s %s of %d broadcasts arrived; %s\n", kind+":", strings.Join(arrived, " and "), total, order)
	})
}

func broadcasts(ctx context.Context, publishers, clients int, report func(kind string, got [][]string, total int)) error {
	for _, kind := range kinds {
		s, err := start(kind)
		if err != nil {
			return err
		}
		got, err := broadcastOn(ctx, s, publishers, clients)
		s.close()
		if err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		report(kind, got, publishers*each)
	}
	return nil
}

func broadcastOn(ctx context.Context, s *server, publishers, clients int) ([][]string, error) {
	var all []*received
	for range clients {
		r := new(received)
		c, err := client.Dial(ctx, s.address, "", r.add)
		if err != nil {
			return nil, err
		}
		defer c.Close()
		all = append(all, r)
	}
	var running sync.WaitGroup
	failed := make(chan error, publishers)
	for p := range publishers {
		running.Go(func() {
			for i := range each {
				if err := s.emit("n", p, i); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	running.Wait()
	select {
	case err := <-failed:
		return nil, err
	default:
	}
	got := make([][]string, clients)
	for i, r := range all {
		got[i] = r.settle(ctx, publishers*each)
	}
	return got, nil
}
