#!/usr/bin/env bash
# Runs penstockctl against a controller of its own and checks stdout, stderr and exit codes.
# usage: against_controller.sh PENSTOCK_CONTROLLER PENSTOCKCTL DIRECTORY
set -u
controller=$1 ctl=$2
work=$(mktemp -d "$3/cli.XXXXXX")
unset PENSTOCK_CONTROLLER PENSTOCK_TLS_CA PENSTOCK_TLS_CERT PENSTOCK_TLS_KEY
failures=0
controller_pid= follower_pid= watcher_pid=

cleanup() {
  [[ -n $follower_pid ]] && kill "$follower_pid" 2>/dev/null
  [[ -n $watcher_pid ]] && kill "$watcher_pid" 2>/dev/null
  [[ -n $controller_pid ]] && kill "$controller_pid" 2>/dev/null
  wait 2>/dev/null
  rm -rf "$work"
}
trap cleanup EXIT

fail() {
  failures=$((failures + 1))
  echo "FAILED line ${BASH_LINENO[1]}: $*"
  echo "  stdout: $(head -c 2000 "$work/out")"
  echo "  stderr: $(head -c 2000 "$work/err")"
}
# ctl EXIT_CODE ARGUMENTS...
ctl() {
  local want=$1 got
  shift
  "$ctl" --controller "$address" "$@" >"$work/out" 2>"$work/err"
  got=$?
  [[ $got == "$want" ]] || fail "penstockctl $*: exit $got, expected $want"
}
out_is() { [[ $(cat "$work/out") == "$1" ]] || fail "stdout is not: $1"; }
out_has() { grep -qF -- "$1" "$work/out" || fail "stdout lacks: $1"; }
out_lacks() { ! grep -qF -- "$1" "$work/out" || fail "stdout has: $1"; }
err_is() { [[ $(cat "$work/err") == "$1" ]] || fail "stderr is not: $1"; }
err_has() { grep -qF -- "$1" "$work/err" || fail "stderr lacks: $1"; }
# until_true SECONDS COMMAND...
until_true() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < end)) || return 1
    sleep 0.05
  done
}

# start_controller GRPC_ADDRESS OPTIONS...
start_controller() {
  local grpc=$1
  shift
  rm -f "$work/addresses.json"
  "$controller" --grpc "$grpc" --http 127.0.0.1:0 --prometheus http://127.0.0.1:1 --data "$work/data" \
    --addresses "$work/addresses.json" "$@" >"$work/controller.out" 2>"$work/controller.log" &
  controller_pid=$!
  if ! until_true 30 test -s "$work/addresses.json"; then
    echo "the controller does not start"; cat "$work/controller.log"; exit 1
  fi
  address=$(sed -n 's/.*"grpc" *: *"\([^"]*\)".*/\1/p' "$work/addresses.json")
}

policy() {
  cat <<YAML
kind: Policy
metadata: {name: shop, labels: {team: web}}
spec:
  service: shop
  pools:
    - {name: default, min: 64, max: $1, memory: 2GiB}
  upstreams:
    - {name: payments, match: {hosts: [pay.example.com]}, timeout: 5s}
YAML
}

start_controller 127.0.0.1:0

# Clients without our declarations ask for health and for what there is: one length-prefixed message, over plain HTTP/2.
grpc_bytes() {
  printf "$2" | curl -s -m 10 --http2-prior-knowledge -H 'content-type: application/grpc' -H 'te: trailers' \
    --data-binary @- -o "$work/out" "http://$address/$1" 2>"$work/err"
}
grpc_bytes grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo '\0\0\0\0\2\x3a\0'
for service in penstock.v1.AdminService penstock.v1.AgentService grpc.health.v1.Health; do
  grep -qaF "$service" "$work/out" || fail "reflection lacks $service"
done
grpc_bytes grpc.health.v1.Health/Check '\0\0\0\0\0'
[[ $(od -An -tx1 "$work/out" | tr -d ' \n') == 00000000020801 ]] || fail "health is not SERVING"
policy 20000 >"$work/shop.yaml"
policy 30000 >"$work/shop2.yaml"
sed 's/timeout/timeot/' "$work/shop.yaml" >"$work/bad.yaml"

# An empty controller.
ctl 0 status
out_has "governs     0 nodes by 0 policies"
err_is ""
ctl 0 get policies
out_is ""
err_is "no policies"
ctl 1 history policy/shop
err_has "error: "
ctl 1 get policy/shop
err_is 'error: there is no policy "shop"'

# What is invalid never arrives.
ctl 3 validate -f "$work/bad.yaml"
out_is ""
err_is "error: $work/bad.yaml:8:59: upstreams[0].timeot: unknown field (did you mean timeout?)"
ctl 3 apply -f "$work/bad.yaml"
err_has "did you mean timeout?"
ctl 0 get policies -o name
out_is ""

# The first revision.
ctl 0 validate -f "$work/shop.yaml"
out_is "$work/shop.yaml: policy/shop is valid"
ctl 1 diff -f "$work/shop.yaml"
out_has "+kind: Policy"
out_has "--- policy/shop (none)"
ctl 0 apply -f "$work/shop.yaml" --dry-run=server
out_is "policy/shop would be changed (dry run)"
ctl 0 get policies -o name
out_is ""
ctl 5 apply -f "$work/shop.yaml" --expect-revision 3
ctl 0 apply -f "$work/shop.yaml" --expect-revision 0 --wait
out_has "policy/shop revision 1 applied"
out_has "policy/shop in force on 0 of 0 nodes"
err_is ""
ctl 0 diff -f "$work/shop.yaml"
out_is ""
ctl 0 apply -f "$work/shop.yaml"
out_is "policy/shop unchanged (revision 1)"

# The second, and conflicts.
ctl 1 diff -f - <"$work/shop2.yaml"
out_has "-      max: 20000"
out_has "+      max: 30000"
ctl 5 apply -f "$work/shop2.yaml" --expect-revision 0
err_is "error: policy/shop has revision 1, expected none"
ctl 0 apply -f "$work/shop2.yaml" --expect-revision 1
out_is "policy/shop revision 2 applied"
sed 's/name: shop,/name: rival,/' "$work/shop.yaml" >"$work/rival.yaml"
ctl 1 apply -f "$work/rival.yaml"
err_has "error: "
out_is ""

# Every form of output.
ctl 0 get policies
out_has "NAME"
grep -qE '^shop +shop +2 ' "$work/out" || fail "no line of shop at revision 2"
ctl 0 get policies -o wide -l team=web
out_has "team=web"
ctl 0 get policies -l team=other
out_is ""
ctl 0 get policies -o name
out_is "policy/shop"
ctl 0 get policies -o json
out_has '"max": 30000'
ctl 0 get policy shop -o yaml
out_has "memory: 2GiB"
cp "$work/out" "$work/stored.yaml"
ctl 0 apply -f "$work/stored.yaml"
out_is "policy/shop unchanged (revision 2)"
for kind in nodes pools upstreams breakers; do ctl 0 get $kind -o json; done
ctl 0 describe policy/shop
out_has "revision: 2"
out_has "Decisions, newest first"

# Back to the first.
ctl 0 history policy/shop
out_has "apply"
[[ $(grep -c '^ *[12] ' "$work/out") == 2 ]] || fail "not two revisions"
ctl 1 rollback policy/shop --to 7
err_has "error: "
ctl 0 rollback policy/shop --to 1
out_is "policy/shop revision 3 applied"
ctl 0 history policy/shop
out_has "rollback to 1"
ctl 0 diff -f "$work/shop.yaml"
out_is ""

# What was decided, and why.
ctl 0 events --since 10m
out_has "policy/shop"
out_has "revision 3"
ctl 0 events policy/shop -o json
[[ $(wc -l <"$work/out") == 3 ]] || fail "not one line for each of three decisions"
ctl 0 events pool/other
out_is ""
"$ctl" --controller "$address" events -f --since 10m >"$work/followed" 2>"$work/followed.err" &
follower_pid=$!
until_true 10 grep -q "revision 3" "$work/followed" || fail "events -f does not show what was"
"$ctl" --controller "$address" get policies -w >"$work/watched" 2>&1 &
watcher_pid=$!
until_true 10 grep -q "^shop " "$work/watched" || fail "get -w shows nothing"
ctl 0 apply -f "$work/shop2.yaml"
until_true 10 grep -qE "^shop +shop +4 " "$work/watched" || fail "get -w does not show the change"
until_true 10 grep -q "revision 4" "$work/followed" || fail "events -f does not show what is decided"
ctl 1 why pool/nonexistent
err_has "error: "
ctl 2 why payments
ctl 0 why upstream/payments
out_has "payments"

# What operators impose.
ctl 0 breaker open payments --ttl 10m --reason "they asked for it"
out_has "upstream/payments of shop: open until "
ctl 2 breaker open payments --ttl 100h --reason x
err_has "ttl"
ctl 1 breaker open nobody --ttl 1m --reason x
ctl 0 get breakers
out_has "they asked for it"
ctl 0 breaker auto payments
out_has "decided automatically again"
ctl 0 pool set default --limit 100 --ttl 10m --reason test
out_has "pool/default of shop: 100 until "
ctl 0 pool auto default
ctl 1 drain nobody

# A restart: events -f goes on, nothing is lost.
kill "$controller_pid" && wait "$controller_pid" 2>/dev/null
ctl 4 status --timeout 1s
err_has "error: controller $address: "
out_is ""
start_controller "$address"
ctl 0 history policy/shop
[[ $(grep -c '^ *[1234] ' "$work/out") == 4 ]] || fail "revisions were lost"
ctl 0 apply -f "$work/shop.yaml"
until_true 15 grep -q "revision 5" "$work/followed" || fail "events -f does not go on after a restart"
grep -q "trying again" "$work/followed.err" || fail "events -f does not say that it lost the controller"

# Colour is for terminals, and not with NO_COLOR.
ctl 0 status
out_lacks $'\033'
if command -v script >/dev/null; then
  TERM=xterm script -qec "$ctl --controller $address get policies" /dev/null >"$work/out" </dev/null
  out_has $'\033'
  NO_COLOR=1 TERM=xterm script -qec "$ctl --controller $address get policies" /dev/null >"$work/out" </dev/null
  out_lacks $'\033'
fi

# Mutual TLS: the certificate's role decides.
kill "$controller_pid" && wait "$controller_pid" 2>/dev/null
certificate() {  # NAME: NAME.pem and NAME.key, signed by the CA
  openssl req -newkey rsa:2048 -nodes -keyout "$work/$1.key" -out "$work/$1.csr" -subj "/CN=$1" 2>/dev/null &&
    openssl x509 -req -in "$work/$1.csr" -CA "$work/ca.pem" -CAkey "$work/ca.key" -CAcreateserial -days 1 \
      -extfile <(echo "subjectAltName=IP:127.0.0.1,URI:spiffe://test/$1") -out "$work/$1.pem" 2>/dev/null
}
openssl req -x509 -newkey rsa:2048 -nodes -keyout "$work/ca.key" -out "$work/ca.pem" -subj /CN=ca -days 1 2>/dev/null
for name in server viewer operator stranger; do certificate $name || fail "no certificate for $name"; done
as() { echo "--tls-ca $work/ca.pem --tls-cert $work/$1.pem --tls-key $work/$1.key"; }
start_controller 127.0.0.1:0 --tls-cert "$work/server.pem" --tls-key "$work/server.key" --tls-ca "$work/ca.pem" \
  --role spiffe://test/viewer=viewer --role spiffe://test/operator=operator
ctl 0 get policies -o name $(as viewer)
out_is "policy/shop"
ctl 1 apply -f "$work/shop2.yaml" $(as viewer)
err_has "error: "
out_is ""
ctl 0 apply -f "$work/shop2.yaml" $(as operator)
out_is "policy/shop revision 6 applied"
ctl 0 history policy/shop $(as viewer)
out_has "spiffe://test/operator"
ctl 1 get policies $(as stranger)
ctl 4 get policies --timeout 2s --tls-ca "$work/ca.pem"
ctl 4 get policies --timeout 2s

((failures == 0)) && echo "all passed"
exit $((failures > 0))
