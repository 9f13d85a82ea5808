// What `nun-db-react` offers to an application: feature flags for components and for plain elements, and a redux store
// whose actions reach everybody. `connect` is given a database and its token, no user.
import { connect, dbMiddleware, reEvalFeatures, useFeatureFlag } from 'nun-db-react';
import React from 'react';
import { createRoot } from 'react-dom/client';
import { applyMiddleware, createStore } from 'redux';

const { url, database, token } = await window.testOptions();
const nunDb = connect(React, url, database, token, undefined, true);

function reduce(state, action) {
  if (action.type === 'newState') return action.state ?? state;
  if (action.type === 'add') return { notes: [...state.notes, action.note] };
  return state;
}
const store = createStore(reduce, { notes: [] }, applyMiddleware(dbMiddleware));

function Report() {
  const isEnabled = useFeatureFlag('report');
  return <p id="report">{isEnabled ? 'The report is here' : 'No report yet'}</p>;
}

createRoot(document.querySelector('#root')).render(<Report />);
window.application = { nunDb, store, reEvalFeatures };
