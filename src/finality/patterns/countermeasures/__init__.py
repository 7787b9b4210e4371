"""The countermeasures: what stands in for isolation, which a saga does not have.

```
    semantic lock       semantic_lock.py       tx.lock("seat/12A")
    commutative update  commutative_update.py  tx.add("accounts", {"id": 1}, balance=-100, at_least=0)
    pessimistic view    pessimistic_view.py    @finality.step(raises="credit"), lowers="credit"
    reread value        reread_value.py        seen = tx.see("orders", {"id": 7}, "status"); tx.reread(seen)
    version file        version_file.py        tx.version_file("card/7").record("cancel", number=2)
    by value            by_value.py            finality.by_value(total, 1_000, below=Plain, above=Careful)
```

Each is written once, against the port, as a function of the local transaction; ``SyncTx`` and
``Tx`` in ``patterns/transaction.py`` call it.

Source: Semantic ACID properties in multidatabases using remote procedure calls and update
propagations, L. Frank and T. Zahle, 1998; Microservices Patterns, C. Richardson, 2018, ch. 4.
"""
