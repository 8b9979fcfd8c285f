;; The hot loops of finding what differs, over COPY text: summing rows up in buckets by the hash of their key, and picking out the rows
;; of buckets that differ. Built by `node build-row-sieve.ts`, which puts the hash of row-engine.wat in the place marked below;
;; row-sieve.test.ts checks that the binary is this text, and holds every function to another implementation.
(module
  (import "host" "memory" (memory 1))

  ;; (include $round $merge $xxh64)

  ;; The number of rows seen, and the sum modulo 2^64 of their hashes.
  (global $rows (export "rows") (mut i32) (i32.const 0))
  (global $sum (export "sum") (mut i64) (i64.const 0))
  ;; Where the key's field numbers are (32 bits each, in key order), and how many; none: the whole row is its key.
  (global $keys (export "keys") (mut i32) (i32.const 0))
  (global $key_fields (export "key_fields") (mut i32) (i32.const 0))
  ;; Where the sums of buckets are (64 bits each), where their marks (8 bits each), and the number of buckets less one.
  (global $buckets (export "buckets") (mut i32) (i32.const 0))
  (global $marks (export "marks") (mut i32) (i32.const 0))
  (global $mask (export "mask") (mut i32) (i32.const 0))
  ;; Where the places of rows are noted (bucket, block, offset: 32 bits each), how many there may be, and how many there were.
  ;; A row then begins with its ctid and a tab, which are not part of it.
  (global $places (export "places") (mut i32) (i32.const 0))
  (global $places_limit (export "places_limit") (mut i32) (i32.const 0))
  (global $placed (export "placed") (mut i32) (i32.const 0))
  ;; Where `sift` writes next.
  (global $out (export "out") (mut i32) (i32.const 0))

  ;; The first newline in [at, end), or end. Eight bytes at once: the lowest set bit marks the first byte that equals a newline.
  (func $newline (param $at i32) (param $end i32) (result i32)
    (local $word i64)
    (block $none
      (loop $words
        (br_if $none (i32.lt_u (i32.sub (local.get $end) (local.get $at)) (i32.const 8)))
        (local.set $word (i64.xor (i64.load align=1 (local.get $at)) (i64.const 0x0A0A0A0A0A0A0A0A)))
        (local.set $word
          (i64.and
            (i64.and
              (i64.sub (local.get $word) (i64.const 0x0101010101010101))
              (i64.xor (local.get $word) (i64.const -1)))
            (i64.const 0x8080808080808080)))
        (if (i64.ne (local.get $word) (i64.const 0))
          (then
            (return
              (i32.add (local.get $at) (i32.wrap_i64 (i64.shr_u (i64.ctz (local.get $word)) (i64.const 3)))))))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (br $words)))
    (loop $bytes
      (if (i32.eq (local.get $at) (local.get $end)) (then (return (local.get $end))))
      (if (i32.eq (i32.load8_u (local.get $at)) (i32.const 10)) (then (return (local.get $at))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br $bytes))
    (unreachable))

  ;; Where the field begins that has so many before it.
  (func $field (param $at i32) (param $end i32) (param $skip i32) (result i32)
    (block $there
      (loop $next
        (br_if $there (i32.eqz (local.get $skip)))
        (br_if $there (i32.ge_u (local.get $at) (local.get $end)))
        (if (i32.eq (i32.load8_u (local.get $at)) (i32.const 9))
          (then (local.set $skip (i32.sub (local.get $skip) (i32.const 1)))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next)))
    (local.get $at))

  ;; FNV-1a over the key's fields, a tab after each, then murmur3's last steps, so that the low bits are good too.
  (func $bucket (param $row i32) (param $end i32) (param $hash i64) (result i32)
    (local $h i32) (local $k i32) (local $at i32) (local $byte i32)
    (if (i32.eqz (global.get $key_fields))
      (then (return (i32.and (i32.wrap_i64 (local.get $hash)) (global.get $mask)))))
    (local.set $h (i32.const 0x811c9dc5))
    (loop $fields
      (local.set $at
        (call $field (local.get $row) (local.get $end)
          (i32.load (i32.add (global.get $keys) (i32.shl (local.get $k) (i32.const 2))))))
      (block $ended
        (loop $bytes
          (br_if $ended (i32.ge_u (local.get $at) (local.get $end)))
          (local.set $byte (i32.load8_u (local.get $at)))
          (br_if $ended (i32.eq (local.get $byte) (i32.const 9)))
          (local.set $h (i32.mul (i32.xor (local.get $h) (local.get $byte)) (i32.const 0x01000193)))
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (br $bytes)))
      (local.set $h (i32.mul (i32.xor (local.get $h) (i32.const 9)) (i32.const 0x01000193)))
      (local.set $k (i32.add (local.get $k) (i32.const 1)))
      (br_if $fields (i32.lt_u (local.get $k) (global.get $key_fields))))
    (local.set $h
      (i32.mul (i32.xor (local.get $h) (i32.shr_u (local.get $h) (i32.const 16))) (i32.const 0x85ebca6b)))
    (local.set $h
      (i32.mul (i32.xor (local.get $h) (i32.shr_u (local.get $h) (i32.const 13))) (i32.const 0xc2b2ae35)))
    (i32.and (i32.xor (local.get $h) (i32.shr_u (local.get $h) (i32.const 16))) (global.get $mask)))

  ;; The decimal number at $at; stops at the first byte that is no digit.
  (func $number (param $at i32) (result i32)
    (local $value i32) (local $digit i32)
    (loop $digits
      (local.set $digit (i32.sub (i32.load8_u (local.get $at)) (i32.const 48)))
      (if (i32.gt_u (local.get $digit) (i32.const 9)) (then (return (local.get $value))))
      (local.set $value (i32.add (i32.mul (local.get $value) (i32.const 10)) (local.get $digit)))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br $digits))
    (unreachable))

  ;; Notes the place of a row that begins with `(block,offset)`; past the limit it is only counted.
  (func $note (param $at i32) (param $bucket i32)
    (local $entry i32)
    (if (i32.lt_u (global.get $placed) (global.get $places_limit))
      (then
        (local.set $entry (i32.add (global.get $places) (i32.mul (global.get $placed) (i32.const 12))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (i32.store (local.get $entry) (local.get $bucket))
        (i32.store offset=4 (local.get $entry) (call $number (local.get $at)))
        (loop $comma
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (br_if $comma (i32.ne (i32.load8_u (i32.sub (local.get $at) (i32.const 1))) (i32.const 44))))
        (i32.store offset=8 (local.get $entry) (call $number (local.get $at)))))
    (global.set $placed (i32.add (global.get $placed) (i32.const 1))))

  ;; Sums up the rows that end in [at, end); returns where the last of them ended.
  (func (export "add") (param $at i32) (param $end i32) (result i32)
    (local $newline i32) (local $row i32) (local $hash i64) (local $bucket i32) (local $slot i32)
    (loop $next
      (local.set $newline (call $newline (local.get $at) (local.get $end)))
      (if (i32.eq (local.get $newline) (local.get $end)) (then (return (local.get $at))))
      (local.set $row
        (call $field (local.get $at) (local.get $newline) (i32.ne (global.get $places_limit) (i32.const 0))))
      (local.set $hash (call $xxh64 (local.get $row) (i32.sub (local.get $newline) (local.get $row))))
      (local.set $bucket (call $bucket (local.get $row) (local.get $newline) (local.get $hash)))
      (local.set $slot (i32.add (global.get $buckets) (i32.shl (local.get $bucket) (i32.const 3))))
      (i64.store (local.get $slot) (i64.add (i64.load (local.get $slot)) (local.get $hash)))
      (global.set $sum (i64.add (global.get $sum) (local.get $hash)))
      (global.set $rows (i32.add (global.get $rows) (i32.const 1)))
      (if (global.get $places_limit) (then (call $note (local.get $at) (local.get $bucket))))
      (local.set $at (i32.add (local.get $newline) (i32.const 1)))
      (br $next))
    (unreachable))

  ;; Copies the rows that end in [at, end) and whose bucket is marked to $out; returns where the last row ended.
  (func (export "sift") (param $at i32) (param $end i32) (result i32)
    (local $newline i32) (local $hash i64) (local $bytes i32)
    (loop $next
      (local.set $newline (call $newline (local.get $at) (local.get $end)))
      (if (i32.eq (local.get $newline) (local.get $end)) (then (return (local.get $at))))
      (if (i32.eqz (global.get $key_fields))
        (then (local.set $hash (call $xxh64 (local.get $at) (i32.sub (local.get $newline) (local.get $at))))))
      (if (i32.load8_u
            (i32.add (global.get $marks) (call $bucket (local.get $at) (local.get $newline) (local.get $hash))))
        (then
          (local.set $bytes (i32.sub (i32.add (local.get $newline) (i32.const 1)) (local.get $at)))
          (memory.copy (global.get $out) (local.get $at) (local.get $bytes))
          (global.set $out (i32.add (global.get $out) (local.get $bytes)))))
      (local.set $at (i32.add (local.get $newline) (i32.const 1)))
      (br $next))
    (unreachable)))
