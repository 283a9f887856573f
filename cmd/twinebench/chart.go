package main

import (
	"bytes"
	"fmt"
	"html"
)

// chart is a group of bars for each budget.
type chart struct {
	title  string
	series []series
	groups []chartGroup
}

// series is a server, with one colour for light backgrounds and one for dark ones.
type series struct {
	name        string
	light, dark string
}

// chartGroup is a budget. Its bars are as long as their share of the greatest of them.
type chartGroup struct {
	name   string
	format string
	values []float64 // by series; less than 0 where there is none
}

// Measures of the picture, in its units.
const (
	chartWidth  = 760
	chartMargin = 16
	barLeft     = chartMargin + 150 // the names of the series are in front
	barMost     = chartWidth - barLeft - 90
	barHeight   = 13
	barStep     = 17
	groupTitle  = 24
	groupGap    = 14
	titleHeight = 34
)

// draw returns the picture as SVG. It has no background, and text in a grey that can be read on white and on black; where
// the viewer says which it is, the colours are those for it.
func (c *chart) draw() []byte {
	height := titleHeight
	for _, g := range c.groups {
		height += groupTitle + barStep*g.bars() + groupGap
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="%s">`+"\n",
		chartWidth, height, chartWidth, height, html.EscapeString(c.title))
	b.WriteString("<style>\ntext{font:12px system-ui,-apple-system,'Segoe UI',sans-serif;fill:#6a737d}\n.t{font-size:15px;font-weight:600}\n.g{font-size:13px;font-weight:600}\n")
	for i, s := range c.series {
		fmt.Fprintf(&b, ".s%d{fill:%s}\n", i, s.light)
	}
	b.WriteString("@media (prefers-color-scheme:dark){text{fill:#9aa4af}")
	for i, s := range c.series {
		fmt.Fprintf(&b, ".s%d{fill:%s}", i, s.dark)
	}
	b.WriteString("}\n</style>\n")
	fmt.Fprintf(&b, `<text class="t" x="%d" y="22">%s</text>`+"\n", chartMargin, html.EscapeString(c.title))
	y := titleHeight
	for _, g := range c.groups {
		fmt.Fprintf(&b, `<text class="g" x="%d" y="%d">%s</text>`+"\n", chartMargin, y+16, html.EscapeString(g.name))
		y += groupTitle
		for i, value := range g.values {
			if value < 0 {
				continue
			}
			length := 0.0
			if most := g.most(); most > 0 {
				length = max(barMost*value/most, 1)
			}
			label := fmt.Sprintf(g.format, value)
			fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text>`, barLeft-8, y+11, html.EscapeString(c.series[i].name))
			fmt.Fprintf(&b, `<rect class="s%d" x="%d" y="%d" width="%.1f" height="%d" rx="2"/>`, i, barLeft, y, length, barHeight)
			fmt.Fprintf(&b, `<text x="%.1f" y="%d">%s</text>`+"\n", barLeft+length+6, y+11, html.EscapeString(label))
			y += barStep
		}
		y += groupGap
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func (g *chartGroup) bars() (n int) {
	for _, value := range g.values {
		if value >= 0 {
			n++
		}
	}
	return n
}

func (g *chartGroup) most() (most float64) {
	for _, value := range g.values {
		most = max(most, value)
	}
	return most
}

// chartSeries are the servers in the picture, by name in the report.
var chartSeries = []struct {
	server string
	series series
}{
	{"twine", series{"Twine", "#1a7f64", "#3fb992"}},
	{"recovery", series{"Twine, with recovery", "#6cbfa6", "#2b7a63"}},
	{"centrifuge", series{"centrifuge", "#b7791f", "#d9a441"}},
	{"node", series{"Node's Socket.IO", "#6b7280", "#8b949e"}},
}

// chartRows are the budgets in the picture, by key.
var chartRows = []struct{ key, name string }{
	{"burst", "burst: server CPU, µs per delivery"},
	{"paced", "3 messages a second: server CPU, µs per delivery"},
	{"idle", "idle connection: server memory, KB"},
	{"connect", "connect: server CPU, µs"},
}

// clusterRowsInChart are those of two nodes over Redis.
var clusterRowsInChart = []struct{ key, name string }{
	{"burst", "burst over Redis Streams: CPU of the clients' node, µs per delivery"},
	{"paced", "3 messages a second over Redis Streams: µs per delivery"},
}

// chart draws the medians.
func (rep *report) chart() *chart {
	c := &chart{title: fmt.Sprintf("%d clients in one room, messages of %d bytes, %d CPUs", rep.Settings.Clients, rep.Settings.MessageSize, rep.CPUs)}
	for _, s := range chartSeries {
		c.series = append(c.series, s.series)
	}
	for _, wanted := range chartRows {
		for _, row := range rows {
			if row.key != wanted.key {
				continue
			}
			g := chartGroup{name: wanted.name, format: row.format}
			for _, s := range chartSeries {
				value := -1.0
				if r := rep.find(s.server); r != nil {
					value = *row.value(&r.Median)
				}
				g.values = append(g.values, value)
			}
			c.add(g)
		}
	}
	for _, wanted := range clusterRowsInChart {
		g := chartGroup{name: wanted.name, format: "%.2f"}
		for _, s := range chartSeries {
			value := -1.0
			if f := rep.findScenario(map[string]string{"twine": "streams", "node": "node-streams"}[s.server]); f != nil {
				value = f.Median[wanted.key]
			}
			g.values = append(g.values, value)
		}
		c.add(g)
	}
	return c
}

// add leaves out a group without bars.
func (c *chart) add(g chartGroup) {
	if g.bars() > 0 {
		c.groups = append(c.groups, g)
	}
}
