package runtime

import (
	"errors"
	"testing"
)

func TestLaterLayersWin(t *testing.T) {
	r := New([]Layer{{Name: "base", Values: map[string]string{"a": "1", "b": "x"}}, {Name: "over", Values: map[string]string{"a": "2"}}})
	if v, ok := r.Number("a"); !ok || v != 2 {
		t.Errorf("a = %d, %v", v, ok)
	}
	if _, ok := r.Number("b"); ok {
		t.Error("b is not a number")
	}
	if _, ok := r.Value("c"); ok {
		t.Error("c is not there")
	}
}

func TestModify(t *testing.T) {
	r := New([]Layer{{Name: "base", Values: map[string]string{"a": "1"}}, {Name: "admin", Admin: true}})
	if err := r.Modify(map[string]string{"a": "5"}); err != nil {
		t.Fatal(err)
	}
	if v, _ := r.Number("a"); v != 5 {
		t.Errorf("a = %d after it was set", v)
	}
	if err := r.Modify(map[string]string{"a": ""}); err != nil {
		t.Fatal(err)
	}
	if v, _ := r.Number("a"); v != 1 {
		t.Errorf("a = %d after it was deleted", v)
	}
	if err := New(nil).Modify(map[string]string{"a": "1"}); !errors.Is(err, ErrNoAdminLayer) {
		t.Errorf("got %v without an admin layer", err)
	}
}
