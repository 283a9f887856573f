package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twine-realtime/twine/examples/migrate-zishang520/client"
)

// show lets Anna, on the first node, and Bert, on the second, talk to each other.
func show(ctx context.Context, out io.Writer, first, second *node) error {
	for _, n := range []*node{first, second} {
		err := until(ctx, func() bool {
			servers, err := n.Servers()
			return err == nil && servers == 2
		})
		if err != nil {
			return fmt.Errorf("the %s node does not find the other one: %w", n.kind, err)
		}
	}
	fmt.Fprintf(out, "   both count 2 servers\n")

	anna, err := join(ctx, "Anna", first)
	if err != nil {
		return err
	}
	defer anna.Close()
	bert, err := join(ctx, "Bert", second)
	if err != nil {
		return err
	}
	defer bert.Close()
	everyone := []*person{anna, bert}

	for _, p := range everyone {
		if err := p.meet(ctx, []string{"Anna", "Bert"}); err != nil {
			return err
		}
		fmt.Fprintf(out, "   %s on the %s node asks who is in the lobby: Anna, Bert\n", p.name, p.node.kind)
	}
	for _, p := range everyone {
		text := "hello from the " + p.node.kind + " node"
		answer, err := p.Ask(ctx, "say", map[string]string{"room": "lobby", "text": text})
		if err != nil {
			return fmt.Errorf("%s says hello: %w", p.name, err)
		}
		fmt.Fprintf(out, "   %s on the %s node says %q, acknowledged with %s\n", p.name, p.node.kind, text, answer)
		if err := received(ctx, out, everyone, fmt.Sprintf(`["said",{"from":%q,"text":%q}`, p.name, text)); err != nil {
			return err
		}
	}
	for _, n := range []*node{first, second} {
		text := "an announcement of the " + n.kind + " node"
		if err := n.Announce(text); err != nil {
			return err
		}
		fmt.Fprintf(out, "   %s\n", text)
		if err := received(ctx, out, everyone, fmt.Sprintf(`["announced",%q`, text)); err != nil {
			return err
		}
	}
	return nil
}

// person is a client with a name.
type person struct {
	*client.Client
	name string
	node *node

	mu     sync.Mutex
	events []string
}

func join(ctx context.Context, name string, n *node) (*person, error) {
	p := &person{name: name, node: n}
	auth, err := json.Marshal(map[string]string{"name": name})
	if err != nil {
		return nil, err
	}
	p.Client, err = client.Dial(ctx, n.address, string(auth), func(data []byte) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.events = append(p.events, string(data))
	})
	return p, err
}

func (p *person) event(i int) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.events[i]
}

// meet waits until the lobby is as it should be. It asks again, also if there is no answer: a node of that library tells
// a client that it is connected before its handlers are ready.
func (p *person) meet(ctx context.Context, everyone []string) error {
	var names []string
	var err error
	late := until(ctx, func() bool {
		asking, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		names, err = p.who(asking)
		return slices.Equal(names, everyone)
	})
	if late != nil {
		return fmt.Errorf("%s on the %s node finds %q in the lobby (%v): %w", p.name, p.node.kind, names, err, late)
	}
	return nil
}

// who returns who is in the lobby, in the order of the alphabet.
func (p *person) who(ctx context.Context) (names []string, err error) {
	answer, err := p.Ask(ctx, "who", "lobby")
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(answer, &[]any{&names}); err != nil {
		return nil, fmt.Errorf("answer %s: %w", answer, err)
	}
	slices.Sort(names)
	return names, nil
}

// received waits until everyone has got an event, whose JSON begins so. Twine nodes add its offset, for recovery.
func received(ctx context.Context, out io.Writer, everyone []*person, event string) error {
	for _, p := range everyone {
		i := -1
		err := until(ctx, func() bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			i = slices.IndexFunc(p.events, func(e string) bool { return strings.HasPrefix(e, event) })
			return i >= 0
		})
		if err != nil {
			return fmt.Errorf("%s on the %s node did not receive %s: %w", p.name, p.node.kind, event, err)
		}
		fmt.Fprintf(out, "      %s on the %s node received %s\n", p.name, p.node.kind, p.event(i))
	}
	return nil
}
