package main

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

type histogram = hdrhistogram.Histogram

// newHistogram counts times from a microsecond to ten minutes, to three digits.
func newHistogram() *histogram {
	return hdrhistogram.New(1, (10 * time.Minute).Microseconds(), 3)
}

// record counts longer times than a histogram can hold as the longest that it can.
func record(h *histogram, micros int64) {
	_ = h.RecordValue(min(max(micros, 1), h.HighestTrackableValue()))
}

// encode cannot fail for a histogram of newHistogram.
func encode(h *histogram) []byte {
	b, err := h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		panic(err)
	}
	return b
}

func merge(into *histogram, encoded []byte) error {
	h, err := hdrhistogram.Decode(encoded)
	if err != nil {
		return err
	}
	into.Merge(h)
	return nil
}

// latency is what a histogram is about, in milliseconds.
type latency struct {
	Count int64   `json:"count"`
	P50   float64 `json:"p50_ms"`
	P99   float64 `json:"p99_ms"`
	P999  float64 `json:"p999_ms"`
	Max   float64 `json:"max_ms"`
}

func summary(h *histogram) latency {
	ms := func(percentile float64) float64 { return float64(h.ValueAtPercentile(percentile)) / 1000 }
	return latency{h.TotalCount(), ms(50), ms(99), ms(99.9), float64(h.Max()) / 1000}
}
