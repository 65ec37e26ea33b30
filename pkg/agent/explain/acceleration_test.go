package explain

import "testing"

func TestAcceleration(t *testing.T) {
	a := Acceleration{
		Sent: []Cgroup{{"/shop", "/cg/shop"}, {"/batch", "/cg/batch"}}, Received: []Cgroup{{"/batch", "/cg/batch"}}, After: 8,
	}
	sent := Acceleration{Sent: a.Sent[:1], After: 8}
	caller := func(name string) *Caller { return &Caller{Cgroup: name, Dir: "/cg" + name} }
	for _, tt := range []struct {
		name   string
		a      Acceleration
		caller *Caller
		want   string
	}{
		{"off", Acceleration{Off: "the kernel is old"}, nil, "none: the kernel is old"},
		{"nobody", Acceleration{After: 8}, nil, "after 8 reads and writes of weir's, what processes in no cgroup send goes past TCP"},
		{"no caller", sent, nil, "after 8 reads and writes of weir's, what processes in /shop send goes past TCP"},
		{
			"no caller, both ways", a, &Caller{},
			"after 8 reads and writes of weir's, what processes in /shop, /batch send goes past TCP; what they are sent does in /batch",
		},
		{"captured", a, caller("/shop/a"), "after 8 reads and writes of weir's, what the caller sends goes past TCP"},
		{"named", a, caller("/batch"), "after 8 reads and writes of weir's, past TCP both ways"},
		{"elsewhere", a, caller("/shopping"), "none: the caller's cgroup /shopping is not in /shop, /batch"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.a.tell(tt.caller); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}
