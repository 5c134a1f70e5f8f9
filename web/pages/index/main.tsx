import '../../client/style/index.css';
import { createRoot } from 'react-dom/client';
import { texts } from '../texts';

createRoot(document.getElementById('root')!).render(<h1>{texts.index.title}</h1>);
