package main

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/twine"
	"github.com/twine-realtime/twine/twine/parser"
)

// orderEvent tells how an order is now.
const orderEvent = "order"

type order struct {
	Number int    `json:"number"`
	By     string `json:"by"`
	Dish   string `json:"dish"`
	Ready  bool   `json:"ready"`
}

// orders are all that there are, by number.
type orders struct {
	mu     sync.Mutex
	all    map[int]order
	newest int
}

// readOrders makes the orders out of the events that the log still has.
func readOrders(ctx context.Context, ns *twine.Namespace) (*orders, error) {
	list := &orders{all: map[int]order{}}
	start, err := ns.HistoryStart(ctx)
	if err != nil {
		return nil, err
	}
	q := recovery.Query{After: start, Rooms: []string{kitchen}}
	for {
		page, err := ns.History(ctx, q)
		if gap := (*recovery.GapError)(nil); errors.As(err, &gap) && gap.To.After(q.After) {
			q.After = gap.To // expired just now
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, entry := range page.Entries {
			args, err := parser.SplitArgs(entry.Data)
			if err != nil {
				return nil, err
			}
			var name string
			var o order
			if err := errors.Join(parser.DecodeArg(args[0], nil, &name), parser.DecodeArg(args[len(args)-1], nil, &o)); err != nil {
				return nil, err
			}
			if name == orderEvent {
				list.set(o)
			}
		}
		if !page.More {
			return list, nil
		}
		q.After = page.Next
	}
}

// next returns a number that no order has.
func (l *orders) next() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.newest++
	return l.newest
}

// set notes how an order is. One that is ready stays so.
func (l *orders) set(o order) {
	l.mu.Lock()
	defer l.mu.Unlock()
	o.Ready = o.Ready || l.all[o.Number].Ready
	l.all[o.Number] = o
	l.newest = max(l.newest, o.Number)
}

func (l *orders) find(number string) (order, bool) {
	n, err := strconv.Atoi(number)
	if err != nil {
		return order{}, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	o, found := l.all[n]
	return o, found
}

// of returns the orders that a user may see, oldest first.
func (l *orders) of(user string) []order {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := []order{}
	for _, o := range l.all {
		if user == cook || o.By == user {
			list = append(list, o)
		}
	}
	slices.SortFunc(list, func(a, b order) int { return a.Number - b.Number })
	return list
}
