package xdstp

import (
	"strings"
	"testing"
)

func TestCanonicalNames(t *testing.T) {
	for text, want := range map[string]string{
		"xdstp://a.test/envoy.config.cluster.v3.Cluster/one": "xdstp://a.test/envoy.config.cluster.v3.Cluster/one",
		"xdstp:///t/deep/er/id":                              "xdstp:///t/deep/er/id",
		"xdstp://a/t/id?b=2&a=1&b=3":                         "xdstp://a/t/id?a=1&b=3",
		"xdstp://a/t/id?a%3D=x%26y&":                         "xdstp://a/t/id?a%3D=x%26y",
		"xdstp://a%2fb/t/with%20space:port":                  "xdstp://a%2Fb/t/with%20space%3Aport",
		"xdstp://a/t/all/*?xds.node.id=1":                    "xdstp://a/t/all/*?xds.node.id=1",
		"xdstp://a/t/\u00e9":                                 "xdstp://a/t/%C3%A9",
		"xdstp://a/t/id#":                                    "xdstp://a/t/id",
	} {
		n, err := Parse(text)
		if err != nil || n.String() != want {
			t.Errorf("%s: %s, %v, want %s", text, n, err, want)
		}
		if n.Collection() != strings.Contains(text, "*") {
			t.Errorf("%s: collection %t", text, n.Collection())
		}
	}
}

func TestBadNames(t *testing.T) {
	for text, want := range map[string]string{
		"http://a/t/id": "must begin", "xdstp://a": "no resource type", "xdstp://a/t": "an identifier", "xdstp://a//id": "a type",
		"xdstp://a/t/%zz": "invalid", "xdstp://%/t/x": "invalid", "xdstp://a/t/x?%=1": "invalid", "xdstp://a/t/x#entry=y": "directives",
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestContextOfTheNode(t *testing.T) {
	n, err := Parse("xdstp://a/t/id?mine=1")
	if err != nil {
		t.Fatal(err)
	}
	got := n.With(map[string]string{"mine": "2", "xds.node.id": "n"}).String()
	if want := "xdstp://a/t/id?mine=1&xds.node.id=n"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if n.With(nil).String() != "xdstp://a/t/id?mine=1" {
		t.Errorf("the name itself changed: %s", n)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("xdstp://a/t/id?b=2&a=1")
	f.Add("xdstp:///t/%2f/*")
	f.Fuzz(func(t *testing.T, text string) {
		n, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(n.String())
		if err != nil || again.String() != n.String() {
			t.Errorf("%q: %q, then %q, %v", text, n, again, err)
		}
	})
}
