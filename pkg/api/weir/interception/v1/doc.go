// Package interceptionv1 is weir.interception.v1: the bootstrap extension that says which connections the kernel hands to weir.
// interception.proto explains each field; interception.pb.go is generated from it by tools/generate.
//
// It owns the message and nothing else. It has no state.
package interceptionv1
