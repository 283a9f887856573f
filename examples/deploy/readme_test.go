package deploy

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The guide names files, parameters, outputs and alarms that are there.
func TestGuide(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	guide := string(text)
	for _, link := range regexp.MustCompile(`\]\(([^)#]+)\)`).FindAllStringSubmatch(guide, -1) {
		if strings.Contains(link[1], "://") {
			continue
		}
		if _, err := os.Stat(filepath.FromSlash(link[1])); err != nil {
			t.Error(err)
		}
	}
	for _, file := range regexp.MustCompile(`(?:--template-file|docker build .* -f|install -m 0644) (\S+)`).FindAllStringSubmatch(guide, -1) {
		if _, err := os.Stat(filepath.Join("../..", file[1])); err != nil {
			t.Error(err)
		}
	}
	parameters, outputs := object{}, object{}
	for _, name := range templateNames(t) {
		tmpl := loadTemplate(t, name)
		for parameter := range tmpl.section("Parameters") {
			parameters[parameter] = true
		}
		for output := range tmpl.section("Outputs") {
			outputs[output] = true
		}
	}
	for _, named := range regexp.MustCompile("[ `]([A-Z][A-Za-z]+)=[^=]").FindAllStringSubmatch(guide, -1) {
		// Shell variables of the guide are all in capitals.
		if named[1] != strings.ToUpper(named[1]) && parameters[named[1]] == nil {
			t.Errorf("no template has the parameter %s", named[1])
		}
	}
	for _, named := range regexp.MustCompile("OutputKey==`([A-Za-z]+)`").FindAllStringSubmatch(guide, -1) {
		if outputs[named[1]] == nil {
			t.Errorf("no template has the output %s", named[1])
		}
	}
	_, table, found := strings.Cut(guide, "| alarm | means | do |")
	table, _, closed := strings.Cut(table, "\n\n")
	if !found || !closed {
		t.Fatal("the table of alarms is not where it was")
	}
	explained := map[string]bool{}
	for _, row := range strings.Split(table, "\n") {
		if cells := strings.Split(row, "|"); len(cells) > 2 {
			for _, name := range regexp.MustCompile("`([A-Za-z]+)").FindAllStringSubmatch(cells[1], -1) {
				explained[name[1]] = true
			}
		}
	}
	alarms := loadTemplate(t, "alarms.yaml").section("Resources")
	for name, v := range alarms {
		if v.(object)["Type"] == "AWS::CloudWatch::Alarm" && !explained[strings.TrimRight(name, "0123456789")] {
			t.Errorf("the guide does not say what to do on %s", name)
		}
	}
	for name := range explained {
		if alarms[name] == nil && alarms[name+"1"] == nil {
			t.Errorf("there is no alarm %s", name)
		}
	}
}
