package v1

import (
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/twine-realtime/twine/recovery"
)

// fill publishes count numbered messages to a room, with as many to another in between.
func (s *service) fill(room string, count int) (offsets []string) {
	s.t.Helper()
	for from := 0; from < count; from += 500 {
		var body strings.Builder
		for n := from; n < min(from+500, count); n++ {
			fmt.Fprintf(&body, `,{"room":%q,"data":%d},{"room":"elsewhere","data":%d}`, room, n, n)
		}
		var got struct{ Results []Result }
		s.ask("POST", "/v1/publish", `{"messages":[`+body.String()[1:]+`]}`).into(s.t, 201, &got)
		for i := 0; i < len(got.Results); i += 2 {
			offsets = append(offsets, got.Results[i].Offset)
		}
	}
	return offsets
}

// TestHistoryInPages reads a history that is mostly on disk, its end in memory, in pages of several sizes.
func TestHistoryInPages(t *testing.T) {
	const messages = 2500
	s := startService(t)
	offsets := s.fill("r", messages)
	for _, limit := range []int{1000, 500, 333, 7, 0} {
		query, after, got, pages := "", "", 0, 0
		if limit > 0 {
			query = fmt.Sprintf("limit=%d", limit)
		} else {
			limit = historyLimit
		}
		for more := true; more; pages++ {
			page := s.history("r", "?"+query+after)
			if len(page.Entries) == 0 || len(page.Entries) > limit {
				t.Fatalf("limit %d: page %d has %d entries, next %s", limit, pages, len(page.Entries), page.Next)
			}
			for _, e := range page.Entries {
				if string(e.Args[0]) != fmt.Sprint(got) || e.Offset != offsets[got] || e.Event != "message" || len(e.Rooms) != 1 || e.Rooms[0] != "r" {
					t.Fatalf("limit %d: entry %d is %+v", limit, got, e)
				}
				got++
			}
			after, more = "&after="+page.Next, page.More
		}
		if least := (messages + limit - 1) / limit; got != messages || pages < least || pages > least+2 {
			t.Errorf("limit %d: %d entries on %d pages", limit, got, pages)
		}
		// More of it comes after where it ended.
		if page := s.history("r", "?"+after[1:]); len(page.Entries) > 0 || page.More {
			t.Errorf("limit %d: at the end there is %+v", limit, page)
		}
	}
}

// TestHistoryEnds keeps out that the last page says that there are more.
func TestHistoryEnds(t *testing.T) {
	s := startService(t)
	if page := s.history("r", ""); len(page.Entries) > 0 || page.More || page.Next == "" {
		t.Errorf("without any message there is %+v", page)
	}
	offsets := s.fill("r", 3)
	for query, want := range map[string]int{
		"": 3, "?limit=3": 3, "?limit=2": 2, "?after=" + offsets[0]: 2, "?after=" + offsets[0] + "&limit=2": 2, "?after=" + offsets[2]: 0,
		"?since=0": 3, "?since=1970-01-01T00:00:00Z": 3, "?since=" + time.Now().Add(time.Hour).UTC().Format(time.RFC3339): 0,
		"?since=99999999999999": 0, "?since=-5": 3, "?through=" + offsets[1]: 2, "?through=0-0": 0, "?through=99999999999999-0": 3,
		"?after=" + offsets[0] + "&through=" + offsets[1]: 1, "?after=" + offsets[1] + "&through=" + offsets[0]: 0, "?until=0": 0, "?until=-5": 0,
		"?until=99999999999999": 3, fmt.Sprint("?until=", uint64(math.MaxInt64)): 3, "?since=99999999999999&until=1": 0,
		"?until=" + time.Now().Add(time.Hour).UTC().Format(time.RFC3339): 3, "?until=" + time.Now().Add(-time.Hour).UTC().Format(time.RFC3339): 0,
	} {
		page := s.history("r", query)
		if len(page.Entries) != want || page.More != (want == 2 && query == "?limit=2") {
			t.Errorf("%s: %+v", query, page)
		}
		// Going on from there finds what the end left out, if anything.
		if rest := s.history("r", "?after="+page.Next); strings.Contains(query, "through") && !strings.Contains(query, "after") && len(page.Entries)+len(rest.Entries) != 3 {
			t.Errorf("%s: then %+v", query, rest)
		}
	}
	if page := s.history("nobody", ""); len(page.Entries) > 0 || page.More {
		t.Errorf("a room without messages has %+v", page)
	}
}

func TestHistorySince(t *testing.T) {
	s := startService(t)
	first := s.publish(`{"room":"r","data":1}`)
	o, err := recovery.ParseOffset(first.Offset)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the clock moves on", func() bool { return time.Now().UnixMilli() > int64(o.MS) })
	second := s.publish(`{"room":"r","data":2}`)
	p, err := recovery.ParseOffset(second.Offset)
	if err != nil {
		t.Fatal(err)
	}
	for since, want := range map[string]int{
		fmt.Sprint(p.MS-1, "&until=", p.MS): 1, fmt.Sprint(o.MS, "&until=", p.MS): 2, fmt.Sprint(o.MS, "&until=", p.MS-1): 1,
		fmt.Sprint("0&until=", o.MS): 1, fmt.Sprint("0&until=", o.MS-1): 0, fmt.Sprint(p.MS, "&until=", o.MS): 0, fmt.Sprint("0&through=", second.Offset): 2,
		fmt.Sprint(o.MS): 2, fmt.Sprint(p.MS): 1, fmt.Sprint(p.MS + 1): 0, fmt.Sprint(o.MS - 1): 2,
		p.Time().UTC().Format(time.RFC3339Nano): 1, p.Time().In(time.FixedZone("", 3600)).Format("2006-01-02T15:04:05.000Z07:00"): 1,
	} {
		if page := s.history("r", "?since="+strings.NewReplacer("%26", "&", "%3D", "=").Replace(url.QueryEscape(since))); len(page.Entries) != want || page.More {
			t.Errorf("since %s: %+v", since, page)
		}
	}
}

func TestHistoryEntries(t *testing.T) {
	s := startService(t)
	before := time.Now().Truncate(time.Millisecond)
	s.publish(`{"rooms":["r","q"],"event":"news","args":[1.50,{"a":"é"},null],"id":"the id"}`)
	page := s.history("r", "")
	if len(page.Entries) != 1 {
		t.Fatalf("got %+v", page)
	}
	e := page.Entries[0]
	args, _ := json.Marshal(e.Args)
	if e.Event != "news" || string(args) != `[1.50,{"a":"é"},null]` || e.ID != "the id" || len(e.Rooms) != 2 ||
		e.Time.Before(before) || e.Time.After(time.Now()) || e.Time.Location() != time.UTC || e.Attachments != nil {
		t.Errorf("got %+v, args %s", e, args)
	}
}

func TestHistoryRefuses(t *testing.T) {
	s := startService(t)
	last := s.publish(`{"room":"r"}`).Offset
	o, err := recovery.ParseOffset(last)
	if err != nil {
		t.Fatal(err)
	}
	for query, status := range map[string]int{
		"?after=x":                            400,
		"?after=1-2-3":                        400,
		"?after=-1-0":                         400,
		"?after=" + o.Next().String():         400,
		"?after=99999999999999-0":             400,
		"?after=18446744073709551616-0":       400,
		"?after=1-0":                          410,
		"?after=0-0":                          410,
		"?since=yesterday":                    400,
		"?since=2026-01-01":                   400,
		"?since=1e9":                          400,
		"?after=" + last + "&since=0":         400,
		"?after=" + last + "&after=" + last:   400,
		"?through=x":                          400,
		"?until=tomorrow":                     400,
		"?through=1-0&until=5":                400,
		"?through=1-0&through=2-0":            400,
		"?limit=0":                            400,
		"?limit=-1":                           400,
		"?limit=1001":                         400,
		"?limit=ten":                          400,
		"?limit=" + fmt.Sprint(math.MaxInt64): 400,
		"?before=" + last:                     400,
		"?limit=%zz":                          400,
		"?limit=1;after=2":                    400,
	} {
		p := s.ask("GET", "/v1/rooms/r/history"+query, "").problem(t, status)
		if status == 410 && (p.From == "" || p.To == "" || !strings.Contains(string(query), p.From)) {
			t.Errorf("%s: %+v", query, p)
		}
	}
	s.ask("GET", "/v1/rooms/"+strings.Repeat("r", 1025)+"/history", "").problem(t, 400)
	s.ask("GET", "/v1/rooms/%ff/history", "").problem(t, 400)
	// Where a 410 says that the history begins it can be read from.
	p := s.ask("GET", "/v1/rooms/r/history?after=1-0", "").problem(t, 410)
	if page := s.history("r", "?after="+p.To); len(page.Entries) != 1 {
		t.Errorf("after %s there is %+v", p.To, page)
	}
}
