//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

// TestCookiesThatAreNoIdentity: whoever sends another cookie than the one that was given out starts anew, and the one
// who has it gets everything afterwards.
func TestCookiesThatAreNoIdentity(t *testing.T) {
	d := startDaemon(t)
	owner := uuid.NewString()
	first := dialRaw(t, d, owner)
	first.subscribe("private")
	first.hangUp(d)
	if err := d.publish("private", map[string]int{"n": 1}); err != nil {
		t.Fatal(err)
	}
	for name, cookie := range map[string]string{
		"none":               "",
		"no uuid":            "x",
		"another uuid":       uuid.NewString(),
		"in capitals":        strings.ToUpper(owner),
		"in braces":          "{" + owner + "}",
		"a urn":              "urn:uuid:" + owner,
		"without dashes":     strings.ReplaceAll(owner, "-", ""),
		"uuid of version 1":  "c232ab00-9414-11ec-b3c8-9f6bdeced846",
		"cut short":          owner[:35],
		"with more behind":   owner + "0",
		"very long":          strings.Repeat("x", 5000),
		"all zeros":          uuid.Nil.String(),
		"other, then no one": uuid.NewString() + "; twineid=",
	} {
		stranger := dialRaw(t, d, cookie)
		stranger.subscribe("public")
		if rooms := roomsOf(t, d, stranger.id); !slices.Equal(rooms, []string{"public"}) {
			t.Errorf("%s: a stranger is in %q", name, rooms)
		}
		if got := stranger.packets.from(0); len(got) != 2 {
			t.Errorf("%s: a stranger is sent %q", name, got)
		}
		stranger.hangUp(d)
	}
	back := dialRaw(t, d, owner)
	if rooms := roomsOf(t, d, back.id); !slices.Equal(rooms, []string{"private"}) {
		t.Errorf("the owner is in %q", rooms)
	}
	if got := back.waitMessages(1); got[0].N != 1 {
		t.Errorf("the owner gets %+v", got)
	}
}

// TestSecondTab: a tab that is alive keeps its rooms and its connection when another one with the same cookie comes.
func TestSecondTab(t *testing.T) {
	d := startDaemon(t)
	id := uuid.NewString()
	first := dialRaw(t, d, id)
	first.subscribe("a")
	second := dialRaw(t, d, id)
	if rooms := roomsOf(t, d, second.id); len(rooms) > 0 {
		t.Errorf("the second tab is in %q", rooms)
	}
	second.subscribe("b")
	for room, n := range map[string]int{"a": 1, "b": 2} {
		if err := d.publish(room, map[string]int{"n": n}); err != nil {
			t.Fatal(err)
		}
	}
	if a, b := first.waitMessages(1), second.waitMessages(1); len(a) != 1 || a[0].N != 1 || len(b) != 1 || b[0].N != 2 {
		t.Errorf("the tabs get %+v and %+v", a, b)
	}
	// The second leaves and comes back, the first stays.
	second.hangUp(d)
	if err := d.publish("b", map[string]int{"n": 3}); err != nil {
		t.Fatal(err)
	}
	third := dialRaw(t, d, id)
	if rooms := roomsOf(t, d, third.id); !slices.Equal(rooms, []string{"b"}) {
		t.Errorf("the second tab comes back to %q", rooms)
	}
	if got := third.waitMessages(1); got[len(got)-1].N != 3 {
		t.Errorf("the second tab comes back to %+v", got)
	}
	if rooms := roomsOf(t, d, first.id); !slices.Equal(rooms, []string{"a"}) || len(first.messages()) != 1 {
		t.Errorf("the first is in %q and has %+v", rooms, first.messages())
	}
}

// TestUpdateSessionTS: where the next connection of a browser goes on is where this one says that it has come to.
func TestUpdateSessionTS(t *testing.T) {
	d := startDaemon(t)
	id := uuid.NewString()
	first := dialRaw(t, d, id)
	first.subscribe("r")
	first.say(`421["stateRecovery"]`)
	first.wait(`431[]`)
	for n := 1; n <= 5; n++ {
		if err := d.publish("r", map[string]int{"n": n}); err != nil {
			t.Fatal(err)
		}
		last := first.waitMessages(n)[n-1].Timestamp
		eventually(t, "the clock moves on", func() bool { return time.Now().UnixMilli() > last+1 })
	}
	handled := first.messages()[3].Timestamp
	for ack, argument := range []string{`"x"`, `null`, `-5`, `0`, `1e300`, `{}`, fmt.Sprint(handled)} {
		first.say(fmt.Sprintf(`42%d["updateSessionTS",%s]`, ack+2, argument))
		first.wait(fmt.Sprintf("43%d[", ack+2))
	}
	first.hangUp(d)
	second := dialRaw(t, d, id)
	if err := d.publish("r", map[string]int{"n": 6}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the newest message comes", func() bool {
		got := second.messages()
		return len(got) > 0 && got[len(got)-1].N == 6
	})
	var numbers []int
	for _, m := range second.messages() {
		numbers = append(numbers, m.N)
	}
	// Its own timestamp is from before it was put into the log, so the message itself may come again.
	if numbers[0] == 4 {
		numbers = numbers[1:]
	}
	if !slices.Equal(numbers, []int{5, 6}) {
		t.Errorf("after the timestamp of message 4 come %v", numbers)
	}
}

// TestBrowserMissedTooMuch: it is in its rooms, and told that their history has a gap.
func TestBrowserMissedTooMuch(t *testing.T) {
	d := startDaemon(t, "--max-replay", "3")
	id := uuid.NewString()
	first := dialRaw(t, d, id)
	first.subscribe("r")
	first.hangUp(d)
	for n := range 4 {
		if err := d.publish("r", map[string]int{"n": n}); err != nil {
			t.Fatal(err)
		}
	}
	second := dialRaw(t, d, id)
	packet := second.wait(`42["twine:gap",`)
	var args []json.RawMessage
	var told gap
	if err := json.Unmarshal([]byte(packet[2:]), &args); err != nil || json.Unmarshal(args[1], &told) != nil || told.Room != "r" {
		t.Fatalf("told %s", packet)
	}
	if page := history(t, d, "r", "?after="+told.From); len(page.Entries) != 4 || page.Entries[3].Offset > told.To {
		t.Errorf("the history in the gap is %+v", page)
	}
	if err := d.publish("r", map[string]int{"n": 9}); err != nil {
		t.Fatal(err)
	}
	if got := second.waitMessages(1); len(got) != 1 || got[0].N != 9 {
		t.Errorf("it gets %+v", got)
	}
}
