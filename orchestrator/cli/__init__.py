"""The command line: what operators type, and what they read.

    main.py       `orchestrator`: its commands, and one line for each error
    exits.py      exit codes
    desk.py       what commands share: settings, the open database, people's output or JSON
    words.py      values as people read them
    documents.py  values as programs read them
    run.py, migrate.py, check.py, accounts.py, trunks.py, enqueue.py, calls.py    the commands
    callfile.py, callrow.py, importing.py    a file of calls: its lines, what a line asks for, queueing them
    timeline.py, watch.py, demo.py    one call's story, calls as they go, the demo as it goes

It decides nothing about calls: it asks the store and the intake.
"""
