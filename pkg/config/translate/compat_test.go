package translate

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestWriteCompatibility(t *testing.T) {
	var all, more bytes.Buffer
	if err := WriteCompatibility(&all); err != nil {
		t.Fatal(err)
	}
	if err := testTranslator(t).WriteCompatibility(&more); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"### `envoy.config.listener.v3.Listener`",
		"- effective: `name`, `address`",
		"- harmless (weir has no worker threads that share work): `connection_balance_config`",
		"`enable_mptcp`",
	} {
		if !strings.Contains(all.String(), want) {
			t.Errorf("the table lacks %q", want)
		}
	}
	if !strings.Contains(more.String(), "### `weir.interception.v1.Interception`") {
		t.Error("the translator's table lacks the messages of its extensions")
	}
	if err := WriteCompatibility(brokenWriter{}); err == nil {
		t.Error("a failing writer is not reported")
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("full") }
