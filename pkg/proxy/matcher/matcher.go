// Package matcher evaluates generic matcher trees (xds.type.matcher.v3.Matcher): decisions over inputs such as headers,
// addresses and certificates that end in an action of whoever holds the tree.
//
// It owns trees, inputs and the matchers of single values. It must not know what actions mean, nor who asks; protobuf is
// known to config.go alone. Trees are immutable and may be used by any number of goroutines; evaluating one allocates
// nothing unless an input has to put its value together.
package matcher

import (
	"github.com/weir-proxy/weir/pkg/config/model"
	"github.com/weir-proxy/weir/pkg/proxy/http/message"
	"github.com/weir-proxy/weir/pkg/proxy/streaminfo"
)

// Data is what inputs read. Whatever is nil is not known, and its inputs have no value.
type Data struct {
	Request  *message.Request
	Response *message.Response
	// Info and its Conn are what is known of the stream and its connection.
	Info *streaminfo.Info
	// Runtime answers runtime keys; nil knows none.
	Runtime *model.Runtime
	// Trace is told of each decision, in words; nil is not.
	Trace func(text string)
}

// conn is the connection; nil when nothing is known of it.
func (d *Data) conn() *streaminfo.Connection {
	if d.Info == nil {
		return nil
	}
	return d.Info.Conn
}

func (d *Data) trace(parts ...string) {
	if d.Trace == nil {
		return
	}
	text := ""
	for _, p := range parts {
		text += p
	}
	d.Trace(text)
}

// Value is what an input yields.
type Value struct {
	// Text is the value of inputs of text.
	Text string
	// Present tells that there is a value at all.
	Present bool
	// Any is the value of inputs of structured data, in plain Go values; Text is empty then.
	Any any
}

func text(s string) Value { return Value{Text: s, Present: true} }

// Input reads one value. Implementations are immutable.
type Input interface {
	// Value reads it.
	Value(d *Data) Value
	// String describes the input, such as "header x-user".
	String() string
}

// Matcher decides about a value. Implementations are immutable.
type Matcher interface {
	// Match decides; a value that is not there never matches.
	Match(v Value, d *Data) bool
	// String describes the matcher.
	String() string
}

// Tree is a compiled matcher tree.
type Tree struct {
	node node
	// noMatch is where to go when node knows nothing; may be nil.
	noMatch *Outcome
}

// Outcome is where a match leads: to another tree or to an action.
type Outcome struct {
	Tree   *Tree
	Action any
}

// node is a list or a map of outcomes.
type node interface {
	// find returns the action that the value of the request leads to. decided is false when nothing in the node matches,
	// so that on_no_match counts; decided without ok means that a deeper tree has no answer, which is final.
	find(d *Data) (action any, ok, decided bool)
	// each calls f with every outcome.
	each(f func(*Outcome))
}

// Match returns the action that the data leads to; ok is false when there is none.
func (t *Tree) Match(d *Data) (action any, ok bool) {
	if t.node != nil {
		if action, ok, decided := t.node.find(d); decided {
			return action, ok
		}
	}
	if t.noMatch == nil {
		return nil, false
	}
	d.trace("on_no_match")
	return t.noMatch.follow(d)
}

func (o *Outcome) follow(d *Data) (action any, ok bool) {
	if o.Tree != nil {
		return o.Tree.Match(d)
	}
	return o.Action, true
}

// Actions calls f with every action of the tree.
func (t *Tree) Actions(f func(action any)) {
	follow := func(o *Outcome) {
		if o.Tree != nil {
			o.Tree.Actions(f)
		} else {
			f(o.Action)
		}
	}
	if t.node != nil {
		t.node.each(follow)
	}
	if t.noMatch != nil {
		follow(t.noMatch)
	}
}
